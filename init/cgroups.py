"""The cgroup of one stage: its limits, its figures, and the certainty that it is over.

Seen from inside the container, where the host's cgroup tree is bound and only the folders that
were delegated can be written to. Version 1 and version 2 differ in names alone, and those are
the two tables here.

A stage has two groups, one in the other. The outer one has the limits and the figures, the inner
one the processes. nsjail makes the inner one the root of the jail's cgroup namespace. A cgroup file
system that is mounted in the jail, by whatever hole, begins there: its files belong to the jail's
uid, but none of them lifts a limit.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH102, PTH106

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from init import cgroupfs

if TYPE_CHECKING:
    from types import TracebackType

    from init.frames import Delegated

#: nsjail's parent and the reaper live in the stage's group too; `processes` counts the program's.
OVERHEAD_PROCESSES: Final = 2
#: A group is out of memory when the next charge does not fit, and this is a huge page.
_LARGEST_CHARGE_BYTES: Final = 2 * 1024 * 1024
#: Nothing starts with less: nsjail alone takes more. The kernel refuses a limit below what it has
#: charged in advance, which are some hundred kilobytes.
_LEAST_MEMORY_BYTES: Final = 1024 * 1024
#: Version 1 counts buffers of TCP and UDP beside the memory: this part of that limit, at most so
#: many bytes. One connection takes a few megabytes.
_SOCKETS_PART: Final = 4
_SOCKETS_MOST_BYTES: Final = 64 * 1024 * 1024
_EMPTY_WITHIN_SECONDS: Final = 10.0
_INNER: Final = "inner"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the kernel counted for one stage.

    `memory_peak_bytes` is without the cache of files that lie on a disk: whichever stage reads a
    store path first is charged for its pages, the next one finds them there. `oom_at_limit` says
    that it was the stage's own limit that was met: an `oom_kills` alone can come from the limit
    around the container, or from a host without memory.
    """

    cpu_seconds: float
    memory_peak_bytes: int
    oom_kills: int
    refused_forks: int
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0
    oom_at_limit: bool = True

    @property
    def starved(self) -> str:
        """What a program can survive that it met here; empty: nothing."""
        met = []
        if self.oom_kills:
            met.append("an OOM kill")
        if self.refused_forks:
            met.append("a refused fork")
        return " and ".join(met)


@dataclass(frozen=True, slots=True)
class _Names:
    """How one version of cgroups spells what we need."""

    attach: str  # a version 1 `tasks` takes a lone thread in 0.1 ms, where `cgroup.procs` takes 10
    memory: str
    swap: str
    sockets: str  # limit of buffers of TCP and UDP; none where they count as memory
    kernel: str  # what the kernel holds for the group; none where it is not charged for groups
    peak: str
    oom: str
    cache: str  # in memory.stat: file pages, those of a tmpfs included
    shmem: str  # in memory.stat: those of a tmpfs alone
    cpu: str
    cpu_user: tuple[str, str]  # (file, field)
    cpu_system: tuple[str, str]


_NAMES: Final = {
    1: _Names(
        attach="tasks",
        memory="memory.limit_in_bytes",
        swap="memory.memsw.limit_in_bytes",  # memory and swap together
        sockets="memory.kmem.tcp.limit_in_bytes",
        kernel="memory.kmem.usage_in_bytes",
        peak="memory.max_usage_in_bytes",
        oom="memory.oom_control",
        cache="total_cache",  # with the groups below, as version 2 always counts
        shmem="total_shmem",
        cpu="cpuacct.usage",
        cpu_user=("cpuacct.usage_user", ""),
        cpu_system=("cpuacct.usage_sys", ""),
    ),
    2: _Names(
        attach="cgroup.procs",
        memory="memory.max",
        swap="memory.swap.max",  # swap alone
        sockets="",
        kernel="",
        peak="memory.peak",
        oom="memory.events",
        cache="file",
        shmem="shmem",
        cpu="cpu.stat",
        cpu_user=("cpu.stat", "user_usec"),
        cpu_system=("cpu.stat", "system_usec"),
    ),
}


def field(text: str, name: str) -> int:
    """A number of a file that holds `name value` lines; 0 when it is not there."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def split(total: float, user: int, system: int) -> tuple[float, float]:
    """`total` in two, as the samples of the clock tick say.

    The kernel measures the sum exactly, and which half it was only samples, as for any process.
    """
    share = user / (user + system) if user + system else 1.0
    return total * share, total - total * share


def cpu_seconds(version: int, text: str) -> float:
    """`cpuacct.usage` counts nanoseconds, `cpu.stat` microseconds."""
    return int(text) / 1e9 if version == 1 else field(text, "usage_usec") / 1e6


class StageCgroup:
    """A group for one stage; leaving the context kills what is left in it and removes it."""

    def __init__(
        self, delegated: Delegated, name: str, *, memory_bytes: int, processes: int, mount: str
    ) -> None:
        self._version = delegated.version
        self._names = _NAMES[delegated.version]
        self._folders = {
            controller: f"{mount}/{folder}/{name}"
            for controller, folder in delegated.folders.items()
        }
        self._memory_bytes = max(memory_bytes, _LEAST_MEMORY_BYTES)
        self._own_bytes = 0
        self._pids_max = processes + OVERHEAD_PROCESSES

    def __enter__(self) -> Self:
        for folder in self._every():
            os.mkdir(folder)
            os.mkdir(f"{folder}/{_INNER}")
        if self._names.kernel:
            # the outer group is charged for the inner one, which is not the program's doing
            self._own_bytes = self._number("memory", self._names.kernel, "")
            self._memory_bytes += self._own_bytes
        self._write("memory", self._names.memory, self._memory_bytes)
        if self._version == 2:  # noqa: PLR2004
            self._write("memory", "memory.oom.group", 1)
        with suppress(FileNotFoundError):  # a kernel that does not account for swap
            # version 1 counts memory and swap together, version 2 swap alone
            self._write("memory", self._names.swap, 0 if self._version == 2 else self._memory_bytes)  # noqa: PLR2004
        if self._names.sockets:
            self._limit_sockets()
        self._write("pids", "pids.max", self._pids_max)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        for outer in self._every():
            for folder in reversed(cgroupfs.tree(outer)):
                os.rmdir(folder)

    def _limit_sockets(self) -> None:
        """The limit is the outer group's; a group counts at all only once it has one of its own."""
        limit = min(self._memory_bytes // _SOCKETS_PART, _SOCKETS_MOST_BYTES)
        with suppress(FileNotFoundError):  # a kernel that no longer has it
            self._write("memory", self._names.sockets, limit)
            self._write("memory", f"{_INNER}/{self._names.sockets}", limit)

    def attach(self) -> None:
        """Bring the calling process in; for a fresh child, before it executes anything."""
        for folder in self._every():
            cgroupfs.say(f"{folder}/{_INNER}/{self._names.attach}", "0")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._version, self._read("cpuacct", self._names.cpu))

    def oom_kills(self) -> int:
        return self._sum("memory", self._names.oom, "oom_kill")

    def figures(self) -> Figures:
        try:
            peak = int(self._read("memory", self._names.peak))
        except FileNotFoundError:
            # memory.peak came with Linux 5.19
            peak = int(self._read("memory", "memory.current"))
        total = self.cpu_seconds()
        user, system = split(
            total,
            self._number("cpuacct", *self._names.cpu_user),
            self._number("cpuacct", *self._names.cpu_system),
        )
        return Figures(
            cpu_seconds=total,
            memory_peak_bytes=max(peak - self._cached_bytes() - self._own_bytes, 0),
            oom_kills=self.oom_kills(),
            refused_forks=self._sum("pids", "pids.events", "max"),
            cpu_user_seconds=user,
            cpu_system_seconds=system,
            # version 2 counts who met this very limit; version 1's failcnt stays 0 in an OOM
            oom_at_limit=peak > self._memory_bytes - _LARGEST_CHARGE_BYTES
            or field(self._read("memory", self._names.oom), "oom") > 0,
        )

    def _cached_bytes(self) -> int:
        """Pages of files on a disk that are charged here now; a tmpfs' files are memory."""
        text = self._read("memory", "memory.stat")
        return max(field(text, self._names.cache) - field(text, self._names.shmem), 0)

    def kill(self) -> None:
        """End every member, and return when none is left.

        Members include the PID 1 of the jail's pid namespace: with it the kernel ends all of
        them at once, however fast they fork.
        """
        deadline = time.monotonic() + _EMPTY_WITHIN_SECONDS
        while pids := cgroupfs.members(self._folders["pids"]):
            # Who is in no pid namespace of ours reads as 0, and a signal to that is one to us.
            for pid in filter(None, pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes that do not die: {pids}")
            time.sleep(0.0005)

    def _every(self) -> list[str]:
        return list(dict.fromkeys(self._folders.values()))

    def _read(self, controller: str, name: str) -> str:
        return cgroupfs.text(f"{self._folders[controller]}/{name}")

    def _sum(self, controller: str, name: str, key: str) -> int:
        """A field summed over all groups of the stage.

        The kernel counts some events where the limit is, and others where their process is.
        """
        total = 0
        for folder in cgroupfs.tree(self._folders[controller]):
            with suppress(FileNotFoundError):
                total += field(cgroupfs.text(f"{folder}/{name}"), key)
        return total

    def _number(self, controller: str, name: str, key: str) -> int:
        """A file's only number, or that of one field; 0 where this kernel has no such file."""
        try:
            text = self._read(controller, name)
        except FileNotFoundError:
            return 0
        return field(text, key) if key else int(text)

    def _write(self, controller: str, name: str, value: int) -> None:
        cgroupfs.say(f"{self._folders[controller]}/{name}", str(value))
