"""How many files and connections a process may have open."""

from __future__ import annotations

import resource


def raise_limit() -> None:
    """As many as the host lets us have: the soft limit is for programs that call select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
