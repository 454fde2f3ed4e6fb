"""How many submissions may be under way: above it new ones are refused, old ones go on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from api.problems import Problem
from streams.errors import LogUnavailable
from streams.readmodel import Generation

_LOOK_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 5


class Bound:
    """Counts by the projector's own count, and what this process has accepted beyond it.

    So it holds while the projector is behind or away; what has ended since is counted as well then.
    """

    def __init__(self, most: int, generation: Callable[[], Awaitable[Generation]]) -> None:
        self._most = most
        self._generation = generation
        self._open = 0
        #: The sequences of what was accepted and is in no count of the projector's yet.
        self._beyond: list[int] = []
        self._looked = -_LOOK_SECONDS

    async def check(self) -> None:
        """Raises Problem 429 when there are too many. Without a read model nothing is refused."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                progress = await (await self._generation()).progress()
            except LogUnavailable:
                return
            self._open = progress.open
            self._beyond = [number for number in self._beyond if number > progress.sequence]
        count = self._open + len(self._beyond)
        if count < self._most:
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

    def accepted(self, sequence: int) -> None:
        """One more; `sequence` is that of one of its events."""
        self._beyond.append(sequence)
