# Unpack $debs into $out as one tree with merged /usr, and make it run from where it is.
# Run by static busybox in Nix's sandbox; see debian.nix for the variables.
export PATH="$bootstrap/bin"
tool() { t="$1"; shift; "$bootstrap/lib/$loader" --library-path "$bootstrap/lib" "$bootstrap/bin/$t" "$@"; }

mkdir -p "$out/usr"
for deb in $debs; do
  case "$(ar t "$deb" | grep '^data\.tar')" in
    data.tar.xz) ar p "$deb" data.tar.xz | tool xz -dc | tar -x -C "$out" ;;
    data.tar.gz) ar p "$deb" data.tar.gz | gunzip -c | tar -x -C "$out" ;;
    data.tar) ar p "$deb" data.tar | tar -x -C "$out" ;;
    *) echo "$deb: its compression is unknown" >&2; exit 1 ;;
  esac
done
chmod -R u+w "$out"

for folder in bin sbin lib lib64 include; do
  if [ -d "$out/$folder" ] && [ ! -L "$out/$folder" ]; then
    mkdir -p "$out/usr/$folder"
    cp -a "$out/$folder/." "$out/usr/$folder/"
    rm -rf "${out:?}/$folder"
  fi
  if [ -d "$out/usr/$folder" ]; then ln -s "usr/$folder" "$out/$folder"; fi
done

# Nothing that a program reads: manuals, translations, packaging.
for folder in doc man info locale lintian bug bash-completion doc-base gdb menu applications pixmaps icons zsh fish; do
  rm -rf "$out/usr/share/$folder"
done
rm -rf "$out/etc/init.d" "$out/etc/default" "$out/etc/cron.daily" "$out/var"

# Links that maintainer scripts (update-alternatives) would have made.
for link in ${links:-}; do
  mkdir -p "$(dirname "$out/${link%%=*}")"
  ln -sf "${link#*=}" "$out/${link%%=*}"
done

. "$patch"
if [ -n "${hook:-}" ]; then
  . "$wrap"
  . "$hook"
fi
