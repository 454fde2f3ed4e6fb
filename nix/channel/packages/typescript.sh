for name in tsc tsserver; do
  wrap "usr/bin/$name" "$nodejs/bin/node $out/usr/share/nodejs/typescript/bin/$name"
done
