"""Reads numbers, one to a line; tells how many there are, their sum and the largest."""

import sys

numbers = [int(line) for line in sys.stdin if line.strip()]
print(f"{len(numbers)} numbers, sum {sum(numbers)}, largest {max(numbers)}")
