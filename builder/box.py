"""A build container, lent by the pool for one job: a conversation in init's frames.

The pool (`worker/buildpool.py`) makes, cleans up and removes; here is only who talks. A container
that is gone is our fault, and so is one that does not speak as agreed: its job begins again in
another one, and nothing of it was kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from builder.errors import BoxGone
from init.frames import Broken, End, Export, Frame, Piece, Stop
from init.wire import Decoder, FrameError, encode

_REASON_CHARACTERS: Final = 1000
_CHUNK: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 5.0
#: Of the NAR: a container that sends nothing for so long does not live.
_PIECE_SECONDS: Final = 60.0
#: And one whose NAR has no end holds the place of other builds: the largest is read in minutes.
_NAR_SECONDS: Final = 1200.0


class Box:
    """One job's container."""

    def __init__(
        self, job: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._job = job
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._waiting: list[Frame] = []

    async def send(self, frame: Frame) -> None:
        """Raises BoxGone."""
        try:
            self._writer.write(encode(frame))
            await self._writer.drain()
        except OSError as error:
            raise BoxGone(self._job, repr(error)) from error

    async def receive(self, seconds: float) -> Frame:
        """The next frame, within that time. Raises BoxGone."""
        try:
            async with asyncio.timeout(seconds):
                while not self._waiting:
                    data = await self._reader.read(_CHUNK)
                    if not data:
                        raise BoxGone(self._job, "it ended")
                    self._waiting.extend(self._decoder.feed(data))
        except (OSError, FrameError) as error:
            raise BoxGone(self._job, repr(error)) from error
        except TimeoutError as error:
            raise BoxGone(self._job, f"it said nothing for {seconds:g} s") from error
        frame = self._waiting.pop(0)
        if isinstance(frame, Broken):
            raise BoxGone(self._job, one_line(frame.reason))
        return frame

    async def exported(
        self, names: tuple[str, ...], seconds: float = _NAR_SECONDS
    ) -> AsyncIterator[bytes]:
        """The NAR of these entries, as the container sends it: hostile bytes. Raises BoxGone."""
        await self.send(Export(names))
        deadline = time.monotonic() + seconds
        while True:
            if time.monotonic() > deadline:
                raise BoxGone(self._job, f"its NAR did not end within {seconds:g} s")
            match await self.receive(_PIECE_SECONDS):
                case Piece(data):
                    yield data
                case End():
                    return
                case other:
                    raise BoxGone(self._job, f"a {type(other).__name__} in the middle of a NAR")


@asynccontextmanager
async def taken(socket: Path, job: str) -> AsyncIterator[Box]:
    """A container for the block; afterwards the pool removes it. Raises BoxGone."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except (OSError, TimeoutError) as error:
        raise BoxGone(job, f"no pool of build containers answers at {socket}: {error!r}") from error
    try:
        yield Box(job, reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def stopping(box: Box, stop: asyncio.Event) -> AsyncIterator[None]:
    """Within the block the container is told when nobody wants its job any more."""

    async def tell() -> None:
        await stop.wait()
        with suppress(BoxGone):
            await box.send(Stop())

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def one_line(words: str) -> str:
    """A container's words for our log, where they must not look like lines of our own. Pure."""
    return " ".join(words.split())[:_REASON_CHARACTERS]
