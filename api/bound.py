"""How many submissions may be under way, and in how much room: old ones go on above it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from api.problems import Problem
from streams.errors import LogUnavailable
from streams.readmodel import Generation
from streams.room import Room

_LOOK_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 5


class Bound:
    """Counts by the projector's own count, and what this process has accepted beyond it.

    So it holds while the projector is behind or away; what has ended since is counted as well then.
    """

    def __init__(
        self,
        most: int,
        generation: Callable[[], Awaitable[Generation]],
        rooms: Sequence[Room] = (),
    ) -> None:
        self._rooms = rooms
        self._most = most
        self._generation = generation
        self._open = 0
        #: The sequences of what was accepted and is in no count of the projector's yet.
        self._beyond: list[int] = []
        self._looked = -_LOOK_SECONDS
        #: Whether the read model answered when it was last asked.
        self._known = True

    async def check(self) -> None:
        """Raises Problem 429 when there are too many, LogFull when what they write needs the rest.

        Without a read model none is too many.
        """
        count = await self._count()
        for room in self._rooms:
            await room.accepts(count)
        if not self._known or count < self._most:
            return
        raise Problem(
            429,
            f"{count} submissions are under way, the most is {self._most}: "
            f"try again in {_RETRY_SECONDS} s",
            type_="/problems/too-many",
            title="Too many submissions",
            headers={"Retry-After": str(_RETRY_SECONDS)},
            extra={"open": count, "most": self._most},
        )

    async def _count(self) -> int:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                progress = await (await self._generation()).progress()
            except LogUnavailable:
                self._known = False
            else:
                self._known = True
                self._open = progress.open
                self._beyond = [number for number in self._beyond if number > progress.sequence]
        return self._open + len(self._beyond)

    def accepted(self, sequence: int) -> None:
        """One more; `sequence` is that of one of its events."""
        self._beyond.append(sequence)
