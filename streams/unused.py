"""Blobs that no event of the log names any more: marked at one run, removed at a later one.

Whoever stores a blob first looks whether it is there, and says only then which event names it: so
what looks unused now may be named in a moment. A mark is taken back by whoever stores the same
bytes again, each change is made only over the description that was read, and what is still marked
and unnamed after an hour is removed.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from streams.blobs import Blobs
from streams.description import Description
from streams.errors import LogUnavailable

#: Far above what lies between a look and the event that names the blob.
GRACE: Final = timedelta(hours=1)


async def sweep(
    client: Client, named: set[str], now: datetime, grace: timedelta = GRACE
) -> tuple[int, int]:
    """How many blobs were marked, and how many removed. `named`: by the events of the log."""
    marked = removed = 0
    slots = asyncio.Semaphore(16)

    async def one(sha256: str) -> None:
        nonlocal marked, removed
        async with slots:
            blob = Description(client, sha256)
            if not await blob.read():
                return
            since = blob.unused_since
            if sha256 in named:
                if since is not None:
                    await blob.mark(None)
            elif since is None:
                marked += await blob.mark(now)
            elif now - since >= grace:
                removed += await blob.remove()

    try:
        async with asyncio.TaskGroup() as group:
            for sha256 in await Blobs(client).names():
                group.create_task(one(sha256))
    except* (NatsError, JetStreamError, OSError) as errors:
        raise LogUnavailable("look for unused blobs", repr(errors.exceptions[0])) from errors
    return marked, removed
