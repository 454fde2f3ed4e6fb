"""Answers in JSON, rendered by orjson."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse

#: An array up to here is an answer in one piece; of a larger one these are the pieces.
_PIECE_BYTES: Final = 1024 * 1024


class Json(Response):
    """Of anything that orjson knows, or of bytes that it has rendered."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


async def array(items: AsyncIterator[Any]) -> Response:
    """A JSON array that is never there as a whole. What fails before its first piece is raised.

    Later the connection is cut off, so that no client takes a part for all.
    """
    pieces = _pieces(items)
    first = await anext(pieces)
    second = await anext(pieces, None)
    if second is None:
        return Json(first)
    return StreamingResponse(_chained(first, second, pieces), media_type=Json.media_type)


async def _pieces(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    piece = bytearray(b"[")
    first = True
    async for item in items:
        piece += (b"" if first else b",") + orjson.dumps(item)
        first = False
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]")


async def _chained(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for piece in rest:
        yield piece
