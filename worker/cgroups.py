"""Cgroups that a container leaves on the host: removed, so that a long life leaves no litter.

Docker removes a container's own; what was made below it (the delegated `jail`) may stay when the
container dies in the middle of a stage.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Where Docker's two cgroup drivers put a container, below each hierarchy.
_PLACES: Final = ("docker/{id}", "system.slice/docker-{id}.scope")


#: By version: the files of a group's limit, in the order in which it can be lowered. Swap too.
_MEMORY_FILES: Final = (
    ("memory.max",),
    ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
)


def lower_memory(group: Path, memory_bytes: int) -> None:
    """Let a group hold no more than that, with all below it. Raises OSError."""
    for files in _MEMORY_FILES:
        if not (group / files[0]).exists():
            continue
        for name in files:
            if (group / name).exists():  # without swap accounting there is one less
                (group / name).write_text(str(memory_bytes))
        return
    raise FileNotFoundError(f"{group} has no limit of memory")


def of_container(root: Path, container_id: str) -> list[Path]:
    """The container's folders in every hierarchy, of either version."""
    hierarchies = [root, *(path for path in root.iterdir() if path.is_dir())]
    places = [place.format(id=container_id) for place in _PLACES]
    found = (hierarchy / place for hierarchy in hierarchies for place in places)
    return [path for path in found if path.is_dir()]


def end(root: Path, container_id: str) -> list[int]:
    """Kill what still runs in a container that the engine says is gone; returns their pids.

    An engine that is killed while it starts a container may forget that it runs.
    """
    found: set[int] = set()
    for top in of_container(root, container_id):
        for file in top.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(map(int, file.read_text().split()))
    # Who is in another pid namespace reads as 0, and a signal to that is one to ourselves.
    for pid in found - {0}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return sorted(found)


def remove(root: Path, container_id: str) -> list[Path]:
    """Remove what a dead container left; returns what would not go."""
    for top in of_container(root, container_id):
        for path in _deepest_first(top):
            with suppress(OSError):
                path.rmdir()
    return of_container(root, container_id)


def _deepest_first(top: Path) -> Iterator[Path]:
    for path, _, _ in os.walk(top, topdown=False, followlinks=False):
        yield Path(path)
