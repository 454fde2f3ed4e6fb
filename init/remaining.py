"""What is left of the total limits while compile and the runs of one attempt go on.

Each stage runs under its own limits, or under what is left of the total where that is less. The
clock stands still while a report is handed over: the wait for whoever reads it is not the
program's. Cases that run at the same time are charged in their order, so what is kept of their
output does not depend on how many there are.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from init import stage
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.frames import Report
    from init.limits import StageLimits, TotalLimits

_ORDER: Final = tuple(Outcome)


class Remaining:
    """`with remaining:` is time at work; every report goes through `charge`."""

    def __init__(self, total: TotalLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._seconds = total.wall_seconds
        self._bytes = total.output_bytes
        self._since: float | None = None
        #: The outcome of the stage whose output went beyond the total; None before that.
        self._output_met: Outcome | None = None

    def __enter__(self) -> None:
        self._since = self._clock()

    def __exit__(self, *_: object) -> None:
        self._seconds = self._left()
        self._since = None

    def within(self, own: StageLimits) -> StageLimits:
        """A stage's limits, or what is left of the total where that is less."""
        return replace(
            own,
            wall_seconds=min(own.wall_seconds, max(0.0, self._left())),
            stdout_bytes=min(own.stdout_bytes, self._bytes),
            stderr_bytes=min(own.stderr_bytes, self._bytes),
        )

    def refused(self) -> Report | None:
        """The report on a stage that may not begin, because the total is used up."""
        if self._output_met is not None:
            return stage.not_run(self._output_met, f"not run: {self._of_output()} are used up")
        if self._left() <= 0:
            return stage.not_run(
                Outcome.WALL_TIME_LIMIT, f"not run: {self._of_clock()} are used up"
            )
        return None

    def told(self, report: Report, own: StageLimits) -> Report:
        """The report, in whose message the total stands if it was the total's clock that ended."""
        if report.outcome is not Outcome.WALL_TIME_LIMIT:
            return report
        if report.wall_seconds >= own.wall_seconds:
            return report
        said = f"{report.wall_seconds:.3f} seconds on the clock; {self._of_clock()} are used up"
        return replace(report, message=said)

    def charge(self, report: Report, own: StageLimits) -> Report:
        """The report with as much output as there is room for; stdout comes before stderr."""
        if self._output_met is not None:
            return self.refused() or report
        left = self._bytes
        stdout = report.stdout[:left]
        stderr = report.stderr[: left - len(stdout)]
        self._bytes = left - len(stdout) - len(stderr)
        if len(stdout) < min(report.stdout_total, own.stdout_bytes):
            met = Outcome.STDOUT_LIMIT
        elif len(stderr) < min(report.stderr_total, own.stderr_bytes):
            met = Outcome.STDERR_LIMIT
        else:
            return report
        self._output_met = met
        cut = replace(report, stdout=stdout, stderr=stderr)
        if _ORDER.index(report.outcome) < _ORDER.index(met):
            return cut
        said = f"too much output: {left} bytes were left of {self._of_output()}"
        return replace(cut, outcome=met, message=said)

    def _left(self) -> float:
        return self._seconds - (0.0 if self._since is None else self._clock() - self._since)

    def _of_clock(self) -> str:
        return f"the {self._total.wall_seconds:g} seconds of limits.total.wall_seconds"

    def _of_output(self) -> str:
        return f"the {self._total.output_bytes} bytes of limits.total.output_bytes"
