# Linking finds C's libraries where Debian's libc.so and *.so links expect them: in the sysroot.
for library in "$shared"/*.so*; do
  if [ ! -e "$own/${library##*/}" ]; then ln -sf "$library" "$own/${library##*/}"; fi
done
# libc.so is a linker script that names the loader too.
mkdir -p "$out/usr/lib64"
rm -f "$out/include" # the sysroot's own, no input of a compilation
ln -sfn usr/lib64 "$out/lib64"
ln -sf "$shared/$loader" "$out/usr/lib64/$loader"
ln -sf "$shared/$loader" "$out/usr/lib/$loader"

# nixpkgs' names for what buildInputs bring; NIX_LDFLAGS is in the linker's own words.
flags="--sysroot=$out -B$out/usr/bin/ -Wl,--dynamic-linker=$shared/$loader -Wl,--disable-new-dtags -Wl,-rpath,$shared -Wl,-rpath,$own"
version="$(basename "$(readlink "$out/usr/bin/gcc")")"
for language in gcc g++ cpp; do
  real="$out/usr/bin/$triplet-$language-${version#gcc-}"
  for name in "$language" "$language-${version#gcc-}"; do
    if [ "$language" = cpp ]; then
      wrap "usr/bin/$name" "$real --sysroot=$out \$NIX_CFLAGS_COMPILE"
    else
      wrap "usr/bin/$name" "$real $flags \$NIX_CFLAGS_COMPILE \"\${link[@]}\"" \
        'link=(); for flag in $NIX_LDFLAGS; do link+=("-Wl,$flag"); done'
    fi
  done
done
ln -sf gcc "$out/usr/bin/cc"
ln -sf g++ "$out/usr/bin/c++"
sed -i "s|exec gcc|exec $out/usr/bin/gcc|" "$out/usr/bin/c89-gcc" "$out/usr/bin/c99-gcc"
ln -sf c99-gcc "$out/usr/bin/c99"

# setup.sh: what lies here is found without flags.
mkdir -p "$out/nix-support"
touch "$out/nix-support/is-compiler"
