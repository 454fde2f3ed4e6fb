"""What a container may hold, and how many test cases may run in it at the same time. Pure.

Each of them may use its limits to the full, so the walls around the container have to hold them
all together: one that was killed because of its neighbours would be an attempt lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from init.cgroups import OVERHEAD_PROCESSES
from init.limits import MIB, StageLimits
from streams.request import Request

#: Init itself, and the reports that wait for their turn.
_INIT_BYTES: Final = 256 * MIB
#: PID 1, the init that works, and whom the engine sends in.
_INIT_PROCESSES: Final = 4


@dataclass(frozen=True, slots=True)
class Room:
    """What a container may use in all, and how many cases whoever runs the host wants at once."""

    memory_bytes: int
    processes: int
    cases_at_once: int = 1


def cases_at_once(room: Room, request: Request) -> int:
    """As many as are wanted, and fit; one always does."""
    run = request.limits.run
    given, memory = _given(request), _of_run(request)
    processes = run.processes + OVERHEAD_PROCESSES + 1
    fit = min(
        (room.memory_bytes - _INIT_BYTES - given) // memory,
        (room.processes - _INIT_PROCESSES) // processes,
    )
    return max(1, min(room.cases_at_once, fit))


def memory_of(request: Request, at_once: int, *, builds: bool) -> int:
    """Bytes that the container needs at most, its outer wall; `builds`: its shell, too."""
    limits = request.limits
    stages = [_given(request) + at_once * _of_run(request)]
    if request.compiles:
        stages.append(_submitted(request) + _with_output(limits.compile))
    if builds:
        stages.append(_submitted(request) + _with_output(limits.dependencies))
    return _INIT_BYTES + max(stages)


def _submitted(request: Request) -> int:
    return sum(file.content.size for file in request.files)


def _given(request: Request) -> int:
    """What lies there for every run: the files, or what compile left."""
    compiled = request.limits.compile.disk_bytes if request.compiles else 0
    return _submitted(request) + compiled


def _of_run(request: Request) -> int:
    """Each run gets a copy of what was given."""
    return _given(request) + _with_output(request.limits.run)


def _with_output(limits: StageLimits) -> int:
    """Output is held twice as it is handed over."""
    return limits.memory_bytes + 2 * (limits.stdout_bytes + limits.stderr_bytes)
