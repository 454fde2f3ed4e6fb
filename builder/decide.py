"""What to do about a queued environment. Pure; `service.py` acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final, Literal

from init.frames import Report
from init.limits import KIB, LIMITS, MIB, Stage, StageLimits, defaults
from init.outcome import Outcome
from streams.fold import Status, Submission

How = Literal["built", "joined", "hit"]


def wanted(state: Submission) -> bool:
    """Whether the environment is still asked for: nobody cancelled, ended or began without it."""
    return state.status is Status.DEPS_QUEUED and not state.cancel_requested


def joinable(limits: StageLimits, wall_seconds: float) -> StageLimits:
    """The limits under which the build runs; submissions for which they are equal share one.

    Every waiter has its own deadline, so a build's clock is the server's. All other limits can
    decide how it ends, and one submission's must never fail another's.
    """
    return replace(limits, wall_seconds=wall_seconds)


def too_large(report: Report, limits: StageLimits) -> Report:
    """The result of a shell whose own inputs together take more than the disk limit."""
    message = f"more was built than the limit of {limits.disk_bytes} bytes"
    return replace(report, outcome=Outcome.DISK_LIMIT, exit_code=None, message=message)


#: With less of one of these a build can "succeed" crippled, and whoever shares it would trust that.
#: Time is not among them: who runs out of it has no result.
_DECISIVE: Final = ("memory_bytes", "processes", "disk_bytes", "file_size_bytes", "open_files")


def lowered(limits: StageLimits, usual: StageLimits) -> list[str]:
    """The names of those limits that are below the host's default, and so decide what is built."""
    return [name for name in _DECISIVE if getattr(limits, name) < getattr(usual, name)]


def why_private(limits: StageLimits, usual: StageLimits, starved: str) -> str | None:
    """Why a build serves the submission alone that asked for it; None when all may share it."""
    if names := lowered(limits, usual):
        return f"it asked for less than the host's default of {', '.join(names)}"
    return f"its build met {starved}, and may lack something" if starved else None


def host_defaults(overrides: Mapping[str, Mapping[str, float]]) -> StageLimits:
    """The dependencies stage's limits where a request asks for nothing.

    `overrides` is that stage's part of SANDSTREAM_LIMITS: per limit its default and maximum.
    """
    values = asdict(defaults(Stage.DEPENDENCIES))
    for limit in LIMITS:
        given = overrides.get(limit.name, {})
        wanted = given.get("default") or values[limit.name]
        most = given.get("maximum") or limit.maximum(Stage.DEPENDENCIES)
        values[limit.name] = limit.kind(min(wanted, most))
    return StageLimits(**values)


def operators(wall_seconds: float) -> StageLimits:
    """The limits of what the trusted side builds: nobody's request decides about these."""
    most: dict[str, Any] = {
        limit.name: limit.kind(limit.maximum(Stage.DEPENDENCIES)) for limit in LIMITS
    }
    return StageLimits(**most | {"wall_seconds": wall_seconds})


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
