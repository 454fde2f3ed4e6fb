"""`make bench`: where the time of a warm submission goes, and what it would cost without us."""
