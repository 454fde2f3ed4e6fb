"""The HTTP API: checks requests, records them as events, and shows what the log says of them.

It runs nothing and keeps nothing: every answer is a fold of the log. HTTP codes live here alone.
"""
