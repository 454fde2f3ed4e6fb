"""A container that never ends its archive is given up: each piece comes in time, and all do not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from builder.box import Box, one_line
from builder.errors import BoxGone
from init.frames import Broken, End, Piece
from init.wire import encode


async def exported(frames, *, for_ever=False, seconds=0.5):
    """What a builder gets of a container that answers with these, again and again if it may."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    _, container = await asyncio.open_unix_connection(sock=theirs)

    async def answer():
        while True:
            for frame in frames:
                container.write(encode(frame))
            if not for_ever:
                return
            await asyncio.sleep(0.01)

    answering = asyncio.create_task(answer())
    try:
        async with asyncio.timeout(20):
            return [piece async for piece in Box("job", reader, writer).exported(("a",), seconds)]
    finally:
        answering.cancel()
        writer.close()
        container.close()


async def test_archive_that_ends_is_taken():
    assert await exported([Piece(b"one"), Piece(b"two"), End()]) == [b"one", b"two"]


async def test_archive_without_end_is_given_up():
    with pytest.raises(BoxGone, match="did not end within"):
        await exported([Piece(b"")], for_ever=True)


async def test_reason_that_is_no_text_is_no_frame():
    with pytest.raises(BoxGone, match="malformed"):
        await exported([Broken("\ud800")])


def test_a_containers_words_are_one_line_of_the_log():
    assert one_line("it broke\nERROR builder: forged\r\n" + "x" * 5000).startswith(
        "it broke ERROR builder: forged xxx"
    )
    assert len(one_line("x" * 5000)) == 1000
