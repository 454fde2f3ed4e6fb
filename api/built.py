"""The list of environments, newest first, for all who ask for it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from streams.readmodel import Built, Generation
from streams.replay import Connection

_READS: Final = 16
#: The read model has no order of them, so each reading is of all: it takes at most one part in so
#: many of the time, however many ask. A few are as new as the read model is.
_PART: Final = 10


class Environments:
    """All that were built, as they were a moment ago: the more there are, the longer."""

    def __init__(self) -> None:
        self._found: list[Built] = []
        self._of = ""
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def newest(self, client: Connection, generation: Generation) -> list[Built]:
        """By the event of their making, the latest first. Raises LogUnavailable."""
        async with self._turn:  # who comes meanwhile has the same answer
            if self._of != generation.name or time.monotonic() >= self._until:
                began = time.monotonic()
                self._found = await _all(client, generation)
                self._of = generation.name
                now = time.monotonic()
                self._until = now + (_PART - 1) * (now - began)
            return self._found


async def _all(client: Connection, generation: Generation) -> list[Built]:
    slots = asyncio.Semaphore(_READS)

    async def one(environment_id: str) -> Built | None:
        async with slots:
            return await generation.environment(environment_id)

    found = await asyncio.gather(*map(one, await generation.environments(client)))
    return sorted((b for b in found if b is not None), key=lambda b: b.sequence, reverse=True)
