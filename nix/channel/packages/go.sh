# Go compiles its standard library on first use, 10 s and more. A full cache is made here. Go has
# to write to its cache (it finds no package at all in a read-only one), so each shell gets a
# folder of links to this one, in 30 ms, unless the user sets GOCACHE. The links are relative to
# one link, `seed`, because tmpfs spends a page on every link of more than 127 characters.
mkdir -p /tmp/go-build
export HOME=/tmp GOCACHE=/tmp/go-build
"$out/usr/lib/go/bin/go" build std
# `go run` compiles all again, without debug information: have that too for what programs use.
{
  echo 'package main'
  for name in bufio bytes cmp container/heap container/list container/ring context crypto/md5 crypto/sha256 \
    encoding/base64 encoding/binary encoding/hex encoding/json errors flag fmt io iter log maps math math/big \
    math/bits math/cmplx math/rand math/rand/v2 os reflect regexp runtime slices sort strconv strings sync \
    sync/atomic text/tabwriter text/template time unicode unicode/utf8 unsafe; do
    echo "import _ \"$name\""
  done
  echo 'func main() {}'
} > /tmp/common.go
"$out/usr/lib/go/bin/go" run /tmp/common.go
rm -f /tmp/go-build/trim.txt
mkdir -p "$out/share/go-links"
cp -r /tmp/go-build "$out/share/go-build"
(
  cd "$out/share/go-build"
  for folder in *; do
    if [ -d "$folder" ]; then
      mkdir "../go-links/$folder"
      (cd "$folder" && for file in *; do if [ -f "$file" ]; then ln -s "../seed/$folder/$file" "../../go-links/$folder/$file"; fi; done)
    fi
  done
)
ln -s "$out/share/go-build" "$out/share/go-links/seed"
wrap usr/bin/go "$out/usr/lib/go/bin/go" \
  'if [ -z "${GOCACHE:-}" ]; then' \
  '  export GOCACHE="${TMPDIR:-/tmp}/go-build"' \
  "  if [ ! -d \"\$GOCACHE\" ]; then $coreutils/bin/cp -r --no-preserve=mode $out/share/go-links \"\$GOCACHE\"; fi" \
  'fi' \
  'export GOTOOLCHAIN="${GOTOOLCHAIN:-local}"'
