# Python's programs, each started with the chosen modules on its path.
path=""
for module in $modules; do path="$path:$module/lib/python3/dist-packages"; done
mkdir -p "$out/bin"
for source in "$python3"/bin/* $(for module in $modules; do echo "$module/bin/*"; done); do
  [ -e "$source" ] || continue
  name="${source##*/}"
  case "$name" in
    python*) printf '#!%s\nexport PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}%s"\nexec %s "$@"\n' "$bash/bin/bash" "${path#:}" "$source" ;;
    *) printf '#!%s\nexport PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}%s"\nexport PATH="%s/bin:$PATH"\nexec %s "$@"\n' "$bash/bin/bash" "${path#:}" "$out" "$source" ;;
  esac > "$out/bin/$name"
  chmod +x "$out/bin/$name"
done
ln -sf python3 "$out/bin/python"
