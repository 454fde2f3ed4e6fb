# rustc links with `cc`: the shell's own if there is one, else the channel's.
wrap usr/bin/rustc "$out/usr/bin/rustc" "export PATH=\"\$PATH:$gcc/bin\""
