exec tclsh main.tcl "$@"
