"""A stage of Nix's: its disk is measured, and a descriptor can say that nobody wants it any more.

Builds need the host's disk, where the kernel counts for no one: what they write is measured
while they run. Stopping is for the two halves of a builder's job; a submission's own container
is removed instead.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from init import stage
from init.box import Box
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.cgroups import StageCgroup
    from init.frames import Delegated, Report
    from init.jail import Jail
    from init.limits import StageLimits

#: Measuring a tree costs a walk over it.
_MEASURE_SECONDS: Final = 1.0
#: How a program can end that has met no limit.
_UNLIMITED: Final = frozenset({Outcome.SIGNALLED, Outcome.NONZERO_EXIT, Outcome.OK})


@dataclass(frozen=True, slots=True)
class _Group(Box):
    """A box of which only the cgroups are used; remembers the one it made, to end it early."""

    made: list[StageCgroup] = field(default_factory=list)

    def cgroup(self, name: str, limits: StageLimits) -> StageCgroup:
        group = Box.cgroup(self, name, limits)
        self.made.append(group)
        return group


class _Watch:
    """Looks at the descriptor and the disk whenever the stage's clocks are looked at."""

    def __init__(
        self,
        group: _Group,
        stop_fd: int | None,
        limit: int,
        used: Callable[[], int] | None,
        stop_when: Callable[[], bool],
    ) -> None:
        self._group = group
        self._stop_when = stop_when
        self._poll = select.poll()
        if stop_fd is not None:
            self._poll.register(stop_fd, select.POLLIN | select.POLLHUP)
        self._limit = limit
        self._used = used
        self._measure_at = time.monotonic() + _MEASURE_SECONDS
        self.stopped = False
        self.full = False

    def __call__(self) -> bool:
        """Whether the disk limit is met; ends the stage for that, and when it is to stop."""
        if not self.stopped and (self._poll.poll(0) or self._stop_when()):
            self.stopped = True
            self._group.made[-1].kill()
        if self._used is not None and not self.full and time.monotonic() >= self._measure_at:
            self.full = self._used() > self._limit
            self._measure_at = time.monotonic() + _MEASURE_SECONDS
            if self.full:
                self._group.made[-1].kill()
        return self.full


def run(
    delegated: Delegated,
    name: str,
    jail: Jail,
    limits: StageLimits,
    *,
    cgroups: str,
    stop_fd: int | None = None,
    used: Callable[[], int] | None = None,
    stop_when: Callable[[], bool] = lambda: False,
) -> Report:
    """Run `jail` until it ends, meets a limit, is to stop, or `stop_fd` can be read or has ended.

    A stopped one is reported as `cancelled`, with what it had written so far, unless it had met a
    limit. `used` measures the bytes that count against `disk_bytes`.
    """
    group = _Group(delegated, cgroups=cgroups)
    watch = _Watch(group, stop_fd, limits.disk_bytes, used, stop_when)
    report = stage.run(group, name, jail, limits, disk_is_full=watch)
    if watch.stopped and report.outcome in _UNLIMITED:
        return replace(report, outcome=Outcome.CANCELLED, message=None)
    return report


def size_of(*folders: str) -> int:
    """Bytes below these folders, of trees that may change meanwhile.

    Of a sparse file the larger figure: a copy of it has no holes.
    """
    total = 0
    for folder in folders:
        for path, _, files in os.walk(folder, onerror=None):
            for name in files:
                try:
                    status = os.lstat(f"{path}/{name}")
                    total += max(status.st_blocks * 512, status.st_size)
                except OSError:
                    continue
    return total
