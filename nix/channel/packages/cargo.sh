wrap usr/bin/cargo "$out/usr/bin/cargo" "export PATH=\"\$PATH:$rustc/bin:$gcc/bin\""
