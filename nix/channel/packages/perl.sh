# Debian compiles absolute folders into @INC.
inc=""
for folder in "$out"/usr/lib/"$triplet"/perl-base "$out"/usr/lib/"$triplet"/perl/5.*.* "$out"/usr/share/perl/5.*.* "$out"/usr/lib/"$triplet"/perl5/5.* "$out"/usr/share/perl5; do
  if [ -d "$folder" ] && [ ! -L "$folder" ]; then inc="$inc:$folder"; fi
done
wrap usr/bin/perl "$out/usr/bin/perl" "export PERL5LIB=\"\${PERL5LIB:+\$PERL5LIB:}${inc#:}\""
