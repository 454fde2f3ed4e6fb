"""Reading a body that may be too large, too slow or in another form than it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from api.problems import Problem, busy, too_large
from api.room import Room, Share
from api.settings import ApiSettings

#: A client that is still sending would see a reset instead of our 413: so much is read and dropped.
_DROPPED_BYTES: Final = 64 * 1024 * 1024
_DROP_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 0.5
_JSON: Final = "application/json"


class Bodies:
    """The bodies of all connections: those that are being sent, and those that are worked on."""

    def __init__(self, settings: ApiSettings) -> None:
        self._limit = settings.body_limit_bytes
        self._seconds = settings.body_seconds
        self._room = Room(max(settings.bodies_limit_bytes, settings.body_limit_bytes))

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._room.held

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, whose form `of_wrong_form` has passed. It counts until the block ends.

        Raises Problem 413 above the limit, declared or sent, 408 when it does not come in time,
        503 when all bodies together are too large.
        """
        share = Share(self._room)
        try:
            yield await self._timely(request, share)
        finally:
            share.give_back()

    async def _timely(self, request: Request, share: Share) -> bytes:
        seconds = self._seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._whole(request, share)
        except TimeoutError as error:
            raise Problem(
                408,
                f"the body did not arrive within {seconds:g} s: send it faster, or less of it",
                type_="/problems/too-slow",
                headers={"Connection": "close"},
            ) from error

    async def _whole(self, request: Request, share: Share) -> bytes:
        declared = request.headers.get("content-length", "")
        problem = self._refusal(int(declared), share) if declared.isdecimal() else None
        chunks: list[bytes] = []
        size = 0
        stream = request.stream()
        try:
            while problem is None and (chunk := await anext(stream, None)) is not None:
                size += len(chunk)
                problem = self._refusal(size, share)
                if problem is None:
                    share.reach(size)
                    chunks.append(chunk)
        except ClientDisconnect as error:
            raise Problem(400, "the client went away before the body's end") from error
        if problem is None:
            return b"".join(chunks)
        chunks.clear()
        share.give_back()
        await drop(request)
        raise problem

    def _refusal(self, size: int, share: Share) -> Problem | None:
        """Why a body can't have this size, ever or now."""
        if size > self._limit:
            return too_large(self._limit)
        if share.may_reach(size):
            return None
        return busy("requests", self._room.held, self._room.most)


def of_wrong_form(headers: Headers) -> Problem | None:
    """Problem 415 for a body that is not said to be plain JSON.

    A web page may send any other form to any server, without asking that one first.
    """
    said = headers.get("content-type", "").strip()
    sent = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    if said.partition(";")[0].strip().lower() != _JSON and (said or sent):
        words = f"is said to be {said[:100]!r}" if said else "is not said to be anything"
        return _unsupported(
            f"the body {words}: send JSON, with the header Content-Type: {_JSON}", "Accept", _JSON
        )
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        return _unsupported(
            f"the body is said to be encoded as {coding[:100]!r}: send it as it is",
            "Accept-Encoding",
            "identity",
        )
    return None


def _unsupported(detail: str, header: str, accepted: str) -> Problem:
    return Problem(
        415, detail, type_="/problems/unsupported-media-type", headers={header: accepted}
    )


async def drop(request: Request) -> None:
    """Read on while something comes. Who asked with `Expect: 100-continue` has sent nothing."""
    if "expect" in request.headers:
        return
    dropped = 0
    with suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(_DROP_SECONDS):
            while dropped < _DROPPED_BYTES:
                message = await asyncio.wait_for(request.receive(), _SILENCE_SECONDS)
                dropped += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
