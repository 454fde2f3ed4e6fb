# What fpcmkcfg would have written to /etc/fpc.cfg; `-n` reads no other one.
lib="$(find "$out/usr/lib/$triplet/fpc" -mindepth 1 -maxdepth 1 -type d)"
compiler="$(readlink -f "$lib"/ppc*)"
units="$(find "$lib/units" -mindepth 1 -maxdepth 1 -type d)"
wrap usr/bin/fpc "$compiler -n -Fu$units -Fu$units/* -FD$binutils/bin -Fl$shared -FL$shared/$loader"
