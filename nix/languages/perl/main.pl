# Counts the words on stdin: most frequent first, then by alphabet.
use v5.36;

my %counts;
while (my $line = <STDIN>) { $counts{$_}++ for split ' ', $line }
say "$_ $counts{$_}" for sort { $counts{$b} <=> $counts{$a} || $a cmp $b } keys %counts;
