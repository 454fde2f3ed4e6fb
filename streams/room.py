"""How full the log is, and what may still be written to it.

Above 90 % of its bound the API accepts nothing new: the rest is for what was accepted. Above 97 %
nothing is written but the ends of submissions, so that each accepted one still gets its own.
"""

from __future__ import annotations

import time
from typing import Final

import orjson
from nats.aio.client import Client

from streams.errors import LogFull
from streams.events import Cancelled, CancelRequested, Event, Failed, Finished
from streams.reading import BROKEN

#: Shares of the bound: up to the first new work is accepted, up to the second work goes on.
ACCEPTING: Final = 0.90
WORKING: Final = 0.97
#: What a submission under way is expected to write still: its environment, reports and end. So
#: much room for the ends of all that were accepted is above WORKING: 1 KiB each.
STORY_BYTES: Final = 32 * 1024
_ENDS: Final = (Finished, Failed, Cancelled, CancelRequested)
#: The usage is asked for this often, and before every write once the log is nearly full.
_LOOK_SECONDS: Final = 1.0
_NEARLY: Final = 0.8


class Room:
    """Of one stream. A server that does not answer refuses nothing here: the write will tell."""

    def __init__(self, client: Client, stream: str, timeout: float) -> None:
        self._client = client
        self._stream = stream
        self._timeout = timeout
        self._used = 0
        self._most = 0
        self._looked = -_LOOK_SECONDS

    async def accepts(self, under_way: int = 0) -> None:
        """Raises LogFull when no new work may be accepted beside that which is under way."""
        await self._look()
        kept = under_way * STORY_BYTES
        if self._most > 0 and self._used + kept >= ACCEPTING * self._most:
            raise LogFull(
                f"{self._used} of its {self._most} bytes are used, and {under_way} submissions "
                f"under way need room; nothing new is accepted above {ACCEPTING:.0%}",
                self._stream,
            )

    async def check(self, event: Event, size: int) -> None:
        """Raises LogFull when there is no room but for the ends of submissions."""
        if isinstance(event, _ENDS):
            return
        await self._look()
        if self._most > 0 and self._used + size > WORKING * self._most:
            raise LogFull(
                f"{self._used} of its {self._most} bytes are used; above {WORKING:.0%} there is "
                "room for the ends of submissions alone",
                self._stream,
            )
        self._used += size

    async def _look(self) -> None:
        now = time.monotonic()
        nearly = self._most > 0 and self._used >= _NEARLY * self._most
        if now - self._looked < _LOOK_SECONDS and not nearly:
            return
        try:
            answer = await self._client.request(
                f"$JS.API.STREAM.INFO.{self._stream}", b"", timeout=self._timeout
            )
        except BROKEN:
            return
        info = orjson.loads(answer.data)
        if "error" in info:
            return
        self._used, self._most = int(info["state"]["bytes"]), int(info["config"]["max_bytes"])
        self._looked = now
