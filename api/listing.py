"""The list of submissions, newest first, out of the read model's index by time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from api import views
from api.states import States
from streams.fold import Status, Submission
from streams.readmodel import BLOCK, Generation
from streams.replay import Connection

#: A page looks at so many entries and blocks at most; then it is short, and `next` goes on.
_ENTRIES: Final = 1000
_BLOCKS: Final = 200
_READS: Final = 16


async def page(
    client: Connection, states: States, *, status: Status | None, before: int | None, limit: int
) -> dict[str, Any]:
    """Submissions that began before sequence `before`, of one status where one is asked for."""
    generation = await states.generation()
    end = await generation.checkpoint() + 1
    upper = end if before is None else min(before, end)
    found: list[dict[str, Any]] = []
    looked = 0
    number = max(upper - 1, 0) // BLOCK
    lowest = max(number - _BLOCKS, -1)
    while number > lowest:
        block = [one for one in await generation.block(client, number) if one[0] < upper]
        for start in range(0, len(block), _READS):
            some = block[start : start + _READS]
            states_ = await asyncio.gather(*(_state(generation, id_) for _, id_ in some))
            for (sequence, _), state in zip(some, states_, strict=True):
                looked += 1
                upper = sequence
                if state is not None and state.sequence and status in {None, state.status}:
                    found.append(views.summary(state))
                if len(found) == limit or looked == _ENTRIES:
                    return {"submissions": found, "next": str(upper) if upper > 1 else None}
        upper = number * BLOCK
        number -= 1
    return {"submissions": found, "next": str(upper) if upper > 1 else None}


async def _state(generation: Generation, submission_id: str) -> Submission | None:
    found = await generation.get(submission_id)
    return None if found is None else found[0].submission
