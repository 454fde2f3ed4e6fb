# The library of scripts and modules are found by paths compiled in.
wrap usr/bin/tclsh8.6 "$out/usr/bin/tclsh8.6" \
  "export TCL_LIBRARY=\"\${TCL_LIBRARY:-$out/usr/share/tcltk/tcl8.6}\"" \
  "export TCL8_6_TM_PATH=\"\${TCL8_6_TM_PATH:+\$TCL8_6_TM_PATH:}$out/usr/share/tcltk/tcl8.6/tcl8\""
