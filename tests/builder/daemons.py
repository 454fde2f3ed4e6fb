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


def keepers(container: str) -> list[int]:
    """Pids of the keepers of this container's jobs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = b"\0builder.daemon\0" in (process / "cmdline").read_bytes()
            if told and container in (process / "cgroup").read_text():
                found.append(int(process.name))
    return found


def members(keeper: int) -> list[int]:
    """Pids of all that a keeper has started, and what that has."""
    found: list[int] = []
    fresh = [keeper]
    while fresh:
        found += fresh
        fresh = [int(pid) for parent in fresh for pid in _children(parent)]
    return found[1:]


def _children(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []
