"""The nix-daemons of a builder's jobs, as the host sees them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def daemons(container: str) -> list[int]:
    """Pids of those in this container: each that listens, and those that serve its clients.

    Below the latter are builds, which bear the same name until they have become another program.
    """
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            named = (process / "comm").read_text() == "nix-daemon\n"
            if named and container in (process / "cgroup").read_text():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                parents[int(process.name)] = int(fields[1])
    return sorted(pid for pid, parent in parents.items() if parents.get(parent) not in parents)
