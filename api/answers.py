"""Answers that are large: made and sent within a budget of bytes, to clients that read slowly too.

Of a whole answer given to the server at once nobody would know when it is gone. So it is sent in
pieces, each when the client has taken most of the one before; its bytes count until the last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.problems import busy
from api.room import FREE_BYTES, Room, Share
from api.settings import ApiSettings

_LOGGER: Final = logging.getLogger(__name__)
_PIECE_BYTES: Final = 256 * 1024
#: A client that takes less holds up what others would be told; it is cut off.
_BYTES_PER_SECOND: Final = 64 * 1024


class Answers:
    """The large answers of all connections: those that are made, and those that are sent."""

    def __init__(self, settings: ApiSettings) -> None:
        self._room = Room(settings.answers_limit_bytes)
        self._seconds = settings.answer_seconds

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._room.held

    @contextmanager
    def share(self, size: int) -> Iterator[Share]:
        """For an answer of about `size` bytes, before anything of it is fetched.

        It is `response` that gives it back, or the block where that fails. Raises Problem 503
        when there is no room for it.
        """
        share = Share(self._room)
        if not share.may_reach(size):
            raise busy("large answers", self._room.held, self._room.most)
        share.reach(size)
        try:
            yield share
        except BaseException:
            share.give_back()
            raise

    def response(
        self,
        data: bytes,
        share: Share,
        *,
        media_type: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """It has to be sent: then the share is given back."""
        share.reach(len(data))
        if len(data) <= FREE_BYTES:
            share.give_back()
            return Response(data, status, headers, media_type)
        pieces = _Pieces(data, status, headers, media_type)
        pieces.share = share
        pieces.seconds = self._seconds + len(data) / _BYTES_PER_SECOND
        return pieces


class _Pieces(Response):
    share: Share
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive  # a client that goes is noticed where its bytes are not taken
        try:
            async with asyncio.timeout(self.seconds):
                await self._send(send)
        except TimeoutError:  # the server closes what has been begun and not ended
            _LOGGER.warning(
                "%s: cut off: its %d bytes were not taken within %.0f s",
                scope["path"],
                len(self.body),
                self.seconds,
            )
        finally:
            self.share.give_back()

    async def _send(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        size = len(self.body)
        for at in range(0, size, _PIECE_BYTES):
            await send(
                {
                    "type": "http.response.body",
                    "body": bytes(self.body[at : at + _PIECE_BYTES]),
                    "more_body": at + _PIECE_BYTES < size,
                }
            )
