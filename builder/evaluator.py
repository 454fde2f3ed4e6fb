"""Asks the evaluator's container for one evaluation, in the words of init's own frames."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from builder.errors import EvaluatorGone
from init.frames import Broken, DependenciesDone, Frame, Job
from init.wire import Decoder, FrameError, encode

_CHUNK: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 5.0
#: Beyond the wall limit, which the evaluator itself enforces.
_GRACE_SECONDS: Final = 30.0


async def evaluate(
    socket: Path, job: Job, *, wall_seconds: float, stop: asyncio.Event
) -> DependenciesDone:
    """The evaluator's answer. Once `stop` is set it ends the job and reports what there is.

    Raises EvaluatorGone.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except (OSError, TimeoutError) as error:
        raise EvaluatorGone(job.submission_id, repr(error)) from error
    stopping = asyncio.create_task(_stop(stop, writer))
    try:
        async with asyncio.timeout(wall_seconds + _GRACE_SECONDS):
            writer.write(encode(job))
            await writer.drain()
            frame = await _receive(reader)
    except (OSError, TimeoutError, FrameError) as error:
        raise EvaluatorGone(job.submission_id, repr(error)) from error
    finally:
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
        writer.close()
    match frame:
        case DependenciesDone():
            return frame
        case Broken(reason):
            raise EvaluatorGone(job.submission_id, reason)
        case _:
            raise EvaluatorGone(job.submission_id, f"it said {frame!r:.100}")


async def _stop(stop: asyncio.Event, writer: asyncio.StreamWriter) -> None:
    await stop.wait()
    with suppress(OSError):
        writer.write_eof()


async def _receive(reader: asyncio.StreamReader) -> Frame | None:
    decoder = Decoder()
    while data := await reader.read(_CHUNK):
        for frame in decoder.feed(data):
            return frame
    return None
