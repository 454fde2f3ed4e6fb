# Make every absolute path in $out that can be rewritten point into the store:
# links, ELF interpreters and library paths, `#!` lines.

find "$out" -type l | while read -r link; do
  target="$(readlink "$link")"
  case "$target" in
    "$out"/* | /nix/store/*) ;;
    [!/]*) # libz.so -> libz.so.1, where the latter is a shared library
       folder="${link%/*}"
       if [ ! -e "$link" ] && [ -e "${libraries:-}${folder#"$out"}/$target" ]; then
         ln -sfn "$libraries${folder#"$out"}/$target" "$link"
       fi ;;
    /*) for root in "$out" ${libraries:-}; do
          if [ -e "$root$target" ] || [ -L "$root$target" ]; then ln -sfn "$root$target" "$link"; break; fi
        done ;;
  esac
done

own="$out/usr/lib/$triplet"
if [ -n "$libraries" ]; then shared="$libraries/usr/lib/$triplet"; else shared="$own"; fi

# glibc's own files need nothing and must not be touched.
glibc() {
  case "${1##*/}" in
    ld-linux*|libc.so.*|libm.so.*|libmvec.so.*|libpthread.so.*|libdl.so.*|librt.so.*|libresolv.so.*|libnss_*|\
    libnsl.so.*|libutil.so.*|libanl.so.*|libBrokenLocale.so.*|libthread_db.so.*|libmemusage.so|libpcprofile.so|libc_malloc_debug.so.*) true ;;
    *) [ "${1%/gconv/*}" != "$1" ] ;;
  esac
}

# RPATH, not RUNPATH: glibc follows only the former for what it opens itself (libgcc_s in
# pthread_exit) and for libraries of libraries.
find "$out" -type f \( -perm -0100 -o -name '*.so' -o -name '*.so.*' \) -exec grep -l '^.ELF' {} + > /tmp/elf || true
while read -r file; do
  if [ -z "$libraries" ] && glibc "$file"; then continue; fi
  old="$(tool patchelf --print-rpath "$file" 2>/dev/null)" || continue # static, or an object file
  path=""
  for folder in $(echo "$old" | tr ':' ' '); do
    case "$folder" in
      /nix/store/* | '$ORIGIN'*) path="$path$folder:" ;;
      /usr/* | /lib/*) path="$path$out$folder:" ;;
    esac
  done
  path="$path$own"
  for folder in ${shares:-}; do path="$path:$folder/usr/lib/$triplet"; done
  if [ "$shared" != "$own" ]; then path="$path:$shared"; fi
  # In two steps and in this order: patchelf corrupts cc1plus otherwise.
  tool patchelf --force-rpath --set-rpath "$path" "$file"
  if tool patchelf --print-interpreter "$file" >/dev/null 2>&1; then
    tool patchelf --set-interpreter "$shared/$loader" "$file"
  fi
done < /tmp/elf

# A jail has /bin/sh and /usr/bin/env, and nothing else at Debian's places.
find "$out/usr" -type f -perm -0100 -exec grep -l '^#! */' {} + 2>/dev/null > /tmp/scripts || true
while read -r file; do
  line="$(head -n 1 "$file" | sed 's/^#! *//')"
  case "$line" in
    /bin/sh* | /usr/bin/env* | /nix/store/*) continue ;;
  esac
  program="${line%% *}"
  options="${line#"$program"}"
  if [ -x "$out$program" ]; then
    sed -i "1s|^.*\$|#!$out$program$options|" "$file"
  elif [ -z "$options" ]; then
    sed -i "1s|^.*\$|#!/usr/bin/env ${program##*/}|" "$file"
  else
    sed -i "1s|^.*\$|#!/usr/bin/env -S ${program##*/}$options|" "$file"
  fi
done < /tmp/scripts
