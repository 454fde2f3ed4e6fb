"""How many test cases may run at the same time in one container. Pure.

Each of them may use its limits to the full, so the walls around the container have to hold them
all together: one that was killed because of its neighbours would be an attempt lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from init.cgroups import OVERHEAD_PROCESSES
from init.limits import MIB
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
    given = sum(file.content.size for file in request.files)
    if request.compiles:
        given += request.limits.compile.disk_bytes
    # each run gets a copy of what was given, and its output is held twice as it is handed over
    memory = run.memory_bytes + given + 2 * (run.stdout_bytes + run.stderr_bytes)
    processes = run.processes + OVERHEAD_PROCESSES + 1
    fit = min(
        (room.memory_bytes - _INIT_BYTES - given) // memory,
        (room.processes - _INIT_PROCESSES) // processes,
    )
    return max(1, min(room.cases_at_once, fit))
