"""What to do about a queued environment. Pure; `service.py` acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

from init.frames import Report
from init.limits import KIB, MIB, StageLimits
from init.outcome import Outcome
from streams.fold import Status, Submission

How = Literal["built", "joined", "hit"]

#: How a daemon ends that did nothing wrong: we stop it when the evaluation is over.
_STOPPED: Final = frozenset({Outcome.CANCELLED, Outcome.OK})
#: A limit that the builds met explains why the evaluation failed.
_LIMITS: Final = frozenset(
    {
        Outcome.WALL_TIME_LIMIT,
        Outcome.CPU_TIME_LIMIT,
        Outcome.MEMORY_LIMIT,
        Outcome.DISK_LIMIT,
        Outcome.FILE_SIZE_LIMIT,
        Outcome.PROCESS_LIMIT,
    }
)
_ORDER: Final = tuple(Outcome)


def wanted(state: Submission) -> bool:
    """Whether the environment is still asked for: nobody cancelled, ended or began without it."""
    return state.status is Status.DEPS_QUEUED and not state.cancel_requested


def joinable(limits: StageLimits, wall_seconds: float) -> StageLimits:
    """The limits under which the build runs; submissions for which they are equal share one.

    Every waiter has its own deadline, so a build's clock is the server's. All other limits can
    decide how it ends, and one submission's must never fail another's.
    """
    return replace(limits, wall_seconds=wall_seconds)


def together(evaluation: Report, builds: Report, limits: StageLimits) -> Report:
    """One report of both halves of a job: the client that evaluates, and its daemon's builds.

    Each half has a cgroup of its own (they are two containers), so the peak is the greater one.
    """
    cpu = evaluation.cpu_seconds + builds.cpu_seconds
    report = replace(
        evaluation,
        cpu_seconds=cpu,
        cpu_user_seconds=evaluation.cpu_user_seconds + builds.cpu_user_seconds,
        cpu_system_seconds=evaluation.cpu_system_seconds + builds.cpu_system_seconds,
        memory_peak_bytes=max(evaluation.memory_peak_bytes, builds.memory_peak_bytes),
    )
    if evaluation.outcome is Outcome.OK:
        if cpu < limits.cpu_seconds:
            return report
        return replace(report, exit_code=None, **_too_long(cpu))
    outcome: Outcome = evaluation.outcome
    message = evaluation.message
    # an evaluation is stopped, too, when its daemon has ended
    stopped = outcome is Outcome.CANCELLED
    rank = len(_ORDER) if stopped else _ORDER.index(outcome)
    if builds.outcome in _LIMITS and _ORDER.index(builds.outcome) < rank:
        outcome, message = builds.outcome, builds.message
    elif cpu >= limits.cpu_seconds and rank > _ORDER.index(Outcome.CPU_TIME_LIMIT):
        return replace(report, **_too_long(cpu))
    return replace(report, outcome=outcome, message=message)


def _too_long(cpu_seconds: float) -> dict[str, Any]:
    message = f"{cpu_seconds:.1f} s of CPU time"
    return {"outcome": Outcome.CPU_TIME_LIMIT, "message": message}


def too_large(report: Report, size: int, limits: StageLimits) -> Report:
    """The result of a shell whose new inputs together take more than the disk limit."""
    message = f"{size} bytes were built; the limit is {limits.disk_bytes} bytes"
    return replace(report, outcome=Outcome.DISK_LIMIT, exit_code=None, message=message)


def too_large_a_file(report: Report, limits: StageLimits) -> Report:
    """The result of a shell with a larger file in its new inputs than it may have."""
    message = f"a file grew too large; the limit is {limits.file_size_bytes} bytes"
    return replace(report, outcome=Outcome.FILE_SIZE_LIMIT, exit_code=None, message=message)


def sum_of(last: Report, *before: Report) -> Report:
    """The last step's report, with what the steps before it have used."""
    return replace(
        last,
        cpu_seconds=sum(report.cpu_seconds for report in (last, *before)),
        cpu_user_seconds=sum(report.cpu_user_seconds for report in (last, *before)),
        cpu_system_seconds=sum(report.cpu_system_seconds for report in (last, *before)),
        memory_peak_bytes=max(report.memory_peak_bytes for report in (last, *before)),
    )


def left(
    limits: StageLimits, evaluation: Report, fetch: Report, seconds: float
) -> StageLimits | Outcome:
    """The limits of what follows an evaluation and a fetch, or which one is used up."""
    wall = limits.wall_seconds - seconds
    cpu = limits.cpu_seconds - evaluation.cpu_seconds - fetch.cpu_seconds
    if wall <= 0 or fetch.outcome is Outcome.WALL_TIME_LIMIT:
        return Outcome.WALL_TIME_LIMIT
    if cpu <= 0 or fetch.outcome is Outcome.CPU_TIME_LIMIT:
        return Outcome.CPU_TIME_LIMIT
    if fetch.outcome is Outcome.DISK_LIMIT:
        return Outcome.DISK_LIMIT
    return replace(limits, wall_seconds=wall, cpu_seconds=cpu)


def daemon_broke(report: Report) -> bool:
    """Whether a daemon's end is our fault."""
    return report.outcome not in _STOPPED and report.outcome not in _LIMITS


def there() -> Report:
    """The report of an environment that was found: no process was started."""
    return Report(Outcome.OK, 0, None, 0.0, 0.0, 0)


#: Below these not even a jail of ours can be made.
_LEAST: Final = (
    ("memory_bytes", 16 * MIB, Outcome.MEMORY_LIMIT),
    ("processes", 16, Outcome.PROCESS_LIMIT),
    ("open_files", 64, Outcome.NONZERO_EXIT),
    ("file_size_bytes", 64 * KIB, Outcome.FILE_SIZE_LIMIT),
)


def too_low(limits: StageLimits) -> Report | None:
    """The result where nothing could even begin because of the request's own limits."""
    for name, least, outcome in _LEAST:
        asked = getattr(limits, name)
        if asked < least:
            message = f"nothing can be built with {name} {asked}; {least} is the least"
            return Report(outcome, None, None, 0.0, 0.0, 0, message=message)
    return None


def nothing_yet() -> Report:
    """The report of a build that goes on, for others."""
    return Report(Outcome.CANCELLED, None, None, 0.0, 0.0, 0)


def late(report: Report, limits: StageLimits, waited: float) -> Report:
    """What a submission is told whose own time was over before the build was."""
    if report.outcome is Outcome.OK:
        return report
    return replace(
        report,
        outcome=Outcome.WALL_TIME_LIMIT,
        wall_seconds=waited,
        exit_code=None,
        signal=None,
        message=f"not ready after {limits.wall_seconds:g} s",
    )


def retry_seconds(delivered: int) -> float:
    """When to look again at what failed through our fault: a try costs little, a wait is felt."""
    return min(15.0, 0.5 * 2.0 ** min(delivered, 10))


#: Nobody but builders answers a warming: after so many deliveries, some four minutes of them, what
#: stops us will not pass by itself.
_WARMING_TRIES: Final = 20


def gives_up(delivered: int, *, warm: bool) -> bool:
    """Whether our own fault is told, not tried again. What a submission needs its worker builds."""
    return warm and delivered >= _WARMING_TRIES


def given_up(delivered: int, why: str) -> Report:
    """What is told of an environment that nobody could build through a fault of ours."""
    message = f"given up after {delivered} tries, through our own fault: {why}"
    return replace(nothing_yet(), outcome=Outcome.SANDBOX_ERROR, message=message)
