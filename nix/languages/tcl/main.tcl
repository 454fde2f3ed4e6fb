# Counts the words on stdin: most frequent first, then by alphabet.
foreach word [regexp -all -inline {\S+} [read stdin]] { incr counts($word) }
set pairs {}
foreach word [lsort [array names counts]] { lappend pairs [list $word $counts($word)] }
foreach pair [lsort -integer -decreasing -index 1 $pairs] { puts $pair }
