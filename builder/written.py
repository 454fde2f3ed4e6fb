"""What a job has written to the disk so far: its builds, and its daemon for its evaluation.

Standard library only, as the keeper that asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from init import cgroups, disk
from init.nix import is_root_of_a_build as is_root

#: A build's root: Nix makes it below the store, so no scratch folder shows what is written there.
_CHROOT: Final = re.compile(rb"/store/([^/]+\.drv\.chroot)(?:/|$)")
#: A build may mount as much as it likes; its root and what Nix mounts come first.
_MOUNTS_BYTES: Final = 64 * 1024
#: So much of what a daemon's processes write is the database's, which is everybody's: whoever's
#: turn it is writes back what all have noted, when that is 40,000 pages (Nix's
#: src/libstore/local-store.cc, `wal_autocheckpoint`). A verdict must not be somebody else's.
DATABASE_BYTES: Final = 40_000 * 4096 + 32 * 1024 * 1024


def chroots_of(mountinfo: bytes) -> set[str]:
    """The builds' roots that a process has mounted, wherever: it may have made another its `/`."""
    found = set()
    for line in mountinfo.split(b"\n"):
        fields = line.split(b" ", 4)
        if len(fields) > 4 and (match := _CHROOT.search(fields[3])):  # noqa: PLR2004
            found.add(os.fsdecode(match[1]))
    return found


def builds(pids: Iterable[int]) -> dict[int, set[str]]:
    """Which of these processes belong to builds, each with the roots that it sees."""
    found = {}
    for pid in pids:
        try:
            with Path(f"/proc/{pid}/mountinfo").open("rb") as file:
                chroots = chroots_of(file.read(_MOUNTS_BYTES))
        except OSError:
            continue  # it has ended
        if chroots:
            found[pid] = chroots
    return found


def stored(io: str) -> int:
    """Bytes that a process has caused to be stored, by its /proc/<pid>/io."""
    fields = io.replace(":", "")
    written = cgroups.field(fields, "write_bytes") - cgroups.field(fields, "cancelled_write_bytes")
    return max(written, 0)


class Written:
    """Measures one job again and again; remembers what builds that are over have left.

    `scratch` and `store` are folders, `group` is the job's cgroup, `limit` in bytes.
    """

    def __init__(self, scratch: str, store: str, group: str, limit: int) -> None:
        self._scratch = scratch
        self._store = store
        self._group = group
        self._limit = limit
        self._devices = {Path(folder).stat().st_dev for folder in (scratch, store)}
        self._built: dict[str, int] = {}
        self._stored: dict[int, int] = {}

    def __call__(self, ended: Callable[[], bool]) -> int:
        """Bytes. Raises TooMuchError and UnreadableError."""
        pids = disk.pids_of(self._group)
        found = builds(pids)
        store = f"{self._store}/store"
        seen = set().union(*found.values())
        # a build may mount what it likes, under any name: only Nix's own is looked at and kept
        new = {name for name in seen - self._built.keys() if is_root(f"{store}/{name}")}
        for name in {*self._built, *new}:
            size = disk.size_of(f"{store}/{name}", self._limit, ended)
            self._built[name] = max(size, self._built.get(name, 0))
        for pid in set(pids) - found.keys():
            self._stored[pid] = max(_stored_by(pid), self._stored.get(pid, 0))
        return (
            sum(self._built.values())
            # what an evaluation copies into the store is written by the daemon
            + max(sum(self._stored.values()) - DATABASE_BYTES, 0)
            + disk.size_of(self._scratch, self._limit, ended)
            + disk.size_of_nameless(self._group, self._devices, ended)
        )


def _stored_by(pid: int) -> int:
    try:
        return stored(Path(f"/proc/{pid}/io").read_text())
    except OSError:  # it has ended, or this kernel does not count
        return 0
