<?php
// Counts the words on stdin: most frequent first, then by alphabet.
$counts = [];
foreach (preg_split('/\s+/', stream_get_contents(STDIN), -1, PREG_SPLIT_NO_EMPTY) as $word) {
    $counts[$word] = ($counts[$word] ?? 0) + 1;
}
uksort($counts, fn ($a, $b) => $counts[$b] <=> $counts[$a] ?: strcmp($a, $b));
foreach ($counts as $word => $count) {
    echo "$word $count\n";
}
