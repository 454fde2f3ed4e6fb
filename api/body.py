"""Reading a body that may be too large, too slow or in another form than it should."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect, Request

from api.problems import Problem, too_large

#: A client that is still sending would see a reset instead of our 413: so much is read and dropped.
_DROPPED_BYTES: Final = 64 * 1024 * 1024
_DROP_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 0.5


async def read(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body, which is JSON by its headers.

    Raises Problem 415 for another form, 413 above `limit` bytes, declared or sent, 408 after
    `seconds`.
    """
    _check_form(request)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError as error:
        raise Problem(
            408,
            f"the body did not arrive within {seconds:g} s: send it faster, or less of it",
            type_="/problems/too-slow",
            headers={"Connection": "close"},
        ) from error


def _check_form(request: Request) -> None:
    """Who says nothing is believed to send JSON; who says something else is told."""
    said = request.headers.get("content-type", "").strip()
    kind = said.partition(";")[0].strip().lower()
    if said and kind != "application/json" and not kind.endswith("+json"):
        raise _unsupported(
            f"the body is said to be {said[:100]!r}: send JSON, with the header "
            "Content-Type: application/json",
            "Accept",
            "application/json",
        )
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise _unsupported(
            f"the body is said to be encoded as {coding[:100]!r}: send it as it is",
            "Accept-Encoding",
            "identity",
        )


def _unsupported(detail: str, header: str, accepted: str) -> Problem:
    return Problem(
        415, detail, type_="/problems/unsupported-media-type", headers={header: accepted}
    )


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        await _drop(request)
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise Problem(400, "the client went away before the body's end") from error
    if size > limit:
        chunks.clear()
        await _drop(request)
        raise too_large(limit)
    return b"".join(chunks)


async def _drop(request: Request) -> None:
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
