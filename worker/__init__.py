"""The worker: a container for each submission, and its frames as events."""
