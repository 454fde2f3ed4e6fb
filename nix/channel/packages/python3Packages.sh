# The hook of every python3Packages.*: alternatives of BLAS, and compiled modules.
for name in blas lapack; do
  for library in "$own/$name"/lib*.so.*; do
    if [ -e "$library" ]; then ln -sf "$name/${library##*/}" "$own/${library##*/}"; fi
  done
done
"$python3/bin/python3" -m compileall -q --invalidation-mode unchecked-hash "$out/usr/lib/python3/dist-packages" || true
