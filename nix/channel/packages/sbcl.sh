wrap usr/bin/sbcl "$out/usr/bin/sbcl" "export SBCL_HOME=\"\${SBCL_HOME:-$out/usr/lib/sbcl}\""
