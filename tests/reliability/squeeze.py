"""Processes of a test that have less of the machine, they alone: little memory, a slow disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class Group:
    """A cgroup of one controller, of either version."""

    def __init__(self, controller: str) -> None:
        self.second = (_ROOT / "cgroup.controllers").exists()
        name = f"sandstream-test-{os.getpid()}-{controller}"
        self.folder = _ROOT / name if self.second else _ROOT / controller / name

    def write(self, file: str, value: str) -> None:
        (self.folder / file).write_text(value)

    def read(self, file: str) -> str:
        return (self.folder / file).read_text()


@contextmanager
def _group(controller: str, pids: Iterable[int]) -> Iterator[Group]:
    """With these processes in it; at the end they are where they were."""
    group = Group(controller)
    group.folder.mkdir()
    try:
        for pid in pids:
            group.write("cgroup.procs", str(pid))
        yield group
    finally:
        for pid in group.read("cgroup.procs").split():
            with suppress(ProcessLookupError, OSError):
                (group.folder.parent / "cgroup.procs").write_text(pid)
        group.folder.rmdir()


class Memory:
    """A limit around some processes, as if the machine had no more."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def limit(self, value: int) -> None:
        file = "memory.max" if self._group.second else "memory.limit_in_bytes"
        self._group.write(file, str(value))

    @property
    def kills(self) -> int:
        """How many of them the kernel has killed for want of memory."""
        file = "memory.events" if self._group.second else "memory.oom_control"
        lines = (line.split() for line in self._group.read(file).splitlines())
        return int(dict(lines)["oom_kill"])


@contextmanager
def memory(pids: Iterable[int]) -> Iterator[Memory]:
    with _group("memory", pids) as group:
        yield Memory(group)


@contextmanager
def slow_disk(pids: Iterable[int], device: str, writes_per_second: int) -> Iterator[None]:
    """`device`: major:minor. What is written and synced there waits its turn in the kernel."""
    group_of = "io" if (_ROOT / "cgroup.controllers").exists() else "blkio"
    with _group(group_of, pids) as group:
        if group.second:
            group.write("io.max", f"{device} wiops={writes_per_second}")
        else:
            group.write("blkio.throttle.write_iops_device", f"{device} {writes_per_second}")
        yield
