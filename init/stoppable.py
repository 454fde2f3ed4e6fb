"""A stage of Nix's: its disk is measured, and a descriptor can say that nobody wants it any more.

Builds need the host's disk, where the kernel counts for no one: what they write is measured
while they run. Stopping is for the two halves of a builder's job; a submission's own container
is removed instead.
"""

from __future__ import annotations

import select
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from init import stage
from init.box import Box
from init.disk import TooMuchError
from init.folders import UnreadableError
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.cgroups import StageCgroup
    from init.frames import Delegated, Report
    from init.jail import Jail
    from init.limits import StageLimits

    #: Bytes that count against `disk_bytes`; told when nobody needs them any more. Raises
    #: TooMuchError and UnreadableError.
    Used = Callable[[Callable[[], bool]], int]

#: Measuring a tree costs a walk over it.
_MEASURE_SECONDS: Final = 1.0
#: So often in a row a tree can't be measured before that is taken for its intention.
_TRIES: Final = 3
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


class _Meter:
    """Measures a disk again and again, in a thread of its own: of many files that takes seconds.

    `full` once there is more than the limit, or what can't be measured: a tree that moves about
    may be so now and then, but not every time.
    """

    def __init__(self, used: Used, limit: int) -> None:
        self._used = used
        self._limit = limit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter")
        self._broken: BaseException | None = None
        self._full = False

    def full(self) -> bool:
        """Whether it was seen full. Raises what measuring has raised."""
        if self._thread.ident is None and not self._ended.is_set():
            self._thread.start()  # not before the program's process was forked off
        if self._broken is not None:
            raise self._broken
        return self._full

    def end(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._full and not self._ended.wait(_MEASURE_SECONDS):
                self._full = self._measured()
        except BaseException as error:  # noqa: BLE001 - raised where somebody hears it
            self._broken = error

    def _measured(self) -> bool:
        for _ in range(_TRIES):
            try:
                return self._used(self._ended.is_set) > self._limit
            except TooMuchError:
                return True
            except UnreadableError:
                continue
        return True


class _Watch:
    """Looks at the descriptor and the disk whenever the stage's clocks are looked at."""

    def __init__(
        self,
        group: _Group,
        stop_fd: int | None,
        stop_when: Callable[[], bool],
        meter: _Meter | None,
    ) -> None:
        self._group = group
        self._stop_when = stop_when
        self._poll = select.poll()
        if stop_fd is not None:
            self._poll.register(stop_fd, select.POLLIN | select.POLLHUP)
        self._meter = meter
        self.stopped = False
        self.full = False

    def __call__(self) -> bool:
        """Whether the disk limit is met; ends the stage for that, and when it is to stop.

        Again at each look: the stage's process may have been on its way into its group when that
        was ended, and would run on, unwatched.
        """
        self.stopped = self.stopped or bool(self._poll.poll(0)) or self._stop_when()
        if self._meter is not None and not self.full:
            self.full = self._meter.full()
        if self.stopped or self.full:
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
    used: Used | None = None,
    stop_when: Callable[[], bool] = lambda: False,
) -> Report:
    """Run `jail` until it ends, meets a limit, is to stop, or `stop_fd` can be read or has ended.

    A stopped one is reported as `cancelled`, with what it had written so far, unless it had met a
    limit. `used` measures what counts against `disk_bytes`, in a thread of its own.
    """
    group = _Group(delegated, cgroups=cgroups)
    meter = None if used is None else _Meter(used, limits.disk_bytes)
    watch = _Watch(group, stop_fd, stop_when, meter)
    try:
        report = stage.run(group, name, jail, limits, disk_is_full=watch)
    finally:
        if meter is not None:
            meter.end()
    if watch.stopped and report.outcome in _UNLIMITED:
        return replace(report, outcome=Outcome.CANCELLED, message=None)
    return report
