# The database's path is compiled in.
wrap usr/bin/file "$out/usr/bin/file" "export MAGIC=\"\${MAGIC:-$out/usr/lib/file/magic.mgc}\""
