"""What an earlier life of this worker left, or an engine has made for it: it goes.

At the start is not enough: an engine that hangs while a worker dies makes the container that was
asked for long after the next worker has looked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from worker.errors import WorkerError

_LOGGER: Final = logging.getLogger(__name__)
_AGAIN_SECONDS: Final = 30.0
_AT_THE_END_SECONDS: Final = 5.0


class Host(Protocol):
    """What can be cleaned."""

    async def remove_leftovers(self) -> int: ...


@asynccontextmanager
async def kept_clean(host: Host, *, again_seconds: float = _AGAIN_SECONDS) -> AsyncIterator[None]:
    """Clean before the block, now and then while it runs, and once more after it.

    Raises EngineSilent or LeftBehind at the start alone.
    """
    await _clean(host)
    task = asyncio.create_task(_keep(host, again_seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with suppress(TimeoutError):
            async with asyncio.timeout(_AT_THE_END_SECONDS):
                await _try(host)


async def _keep(host: Host, again_seconds: float) -> None:
    while True:
        await asyncio.sleep(again_seconds)
        await _try(host)


async def _try(host: Host) -> None:
    try:
        await _clean(host)
    except WorkerError as error:
        _LOGGER.warning("leftovers: %s", error)


async def _clean(host: Host) -> None:
    if removed := await host.remove_leftovers():
        _LOGGER.warning("removed %d containers of an earlier life", removed)
