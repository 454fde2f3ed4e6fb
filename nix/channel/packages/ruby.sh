# Debian compiles absolute folders into the load path.
lib=""
for folder in "$out"/usr/lib/ruby/vendor_ruby "$out"/usr/lib/ruby/[0-9]* "$own"/ruby/vendor_ruby/[0-9]* "$own"/ruby/[0-9]*; do
  if [ -d "$folder" ]; then lib="$lib:$folder"; fi
done
gems="$out/usr/share/rubygems-integration/all:$out/usr/share/rubygems-integration/$(ls "$out/usr/lib/ruby" | grep '^[0-9]' | head -n 1)"
real="$(readlink -f "$out/usr/bin/ruby")"
wrap "usr/bin/${real##*/}" "$real" "export RUBYLIB=\"\${RUBYLIB:+\$RUBYLIB:}${lib#:}\"" "export GEM_PATH=\"\${GEM_PATH:-$gems}\""
