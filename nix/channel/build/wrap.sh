# wrap PATH TARGET [LINE...]: put a bash script at $out/PATH that runs TARGET after the lines.
# What was there is replaced, if it was a link; else it is kept beside it as .NAME-wrapped.
wrap() {
  path="$out/$1"; target="$2"; shift 2
  if [ -f "$path" ] && [ ! -L "$path" ]; then
    kept="${path%/*}/.${path##*/}-wrapped"
    mv "$path" "$kept"
    if [ "$target" = "$path" ]; then target="$kept"; fi
  fi
  rm -f "$path"
  {
    echo "#!$shell"
    for line in "$@"; do echo "$line"; done
    echo "exec $target \"\$@\""
  } > "$path"
  chmod 755 "$path"
}
