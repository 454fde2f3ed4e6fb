"""Blobs that no event of the log names any more: marked at one run, removed at a later one.

Whoever stores a blob first looks whether it is there, and says only then which event names it: so
what looks unused now may be named in a moment. A mark is taken back by whoever stores the same
bytes again, each change is made only over the description that was read, and what is still marked
and unnamed after an hour is removed.

Chunks that no description names are of an upload that is under way, was cut short, or found that
another was first. None takes longer than a minute, so they go when the newest is an hour old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from streams import chunks
from streams.blobs import Blobs
from streams.description import Description
from streams.errors import LogUnavailable

#: Far above what lies between a look and the event that names the blob.
GRACE: Final = timedelta(hours=1)
_AT_ONCE: Final = 16
_Item = TypeVar("_Item")


@dataclass(slots=True)
class Swept:
    """How many blobs were marked, how many removed, and how many uploads that nothing names."""

    marked: int = 0
    removed: int = 0
    uploads: int = 0


async def sweep(
    client: Client, named: set[str], began: datetime, grace: timedelta = GRACE
) -> Swept:
    """`named`: by the events that the log had when it `began`, by the server's clock.

    Raises LogUnavailable, LogFull.
    """
    run = _Run(client, named, began, grace)
    try:
        await run.perform()
    except (NatsError, JetStreamError, OSError) as error:
        raise LogUnavailable("look for unused blobs", repr(error)) from error
    return run.done


class _Run:
    """One sweep. It counts after what it awaits: `+=` reads the sum first, and others add to it."""

    def __init__(self, client: Client, named: set[str], began: datetime, grace: timedelta) -> None:
        self._client = client
        self._named = named
        self._began = began
        self._grace = grace
        self._described: set[str] = set()
        self._unused: list[Description] = []
        self._used: list[Description] = []
        self.done = Swept()

    async def perform(self) -> None:
        """A mark takes room, and there may be none left: so whatever goes, goes first."""
        written = await chunks.nuids(self._client)
        await _each(await Blobs(self._client).names(), self._look)
        await _each(written - self._described, self._lose)
        await _each(self._used, self._use)
        await _each(self._unused, self._mark)

    async def _look(self, sha256: str) -> None:
        blob = Description(self._client, sha256)
        if not await blob.read():
            return
        self._described.add(blob.chunks.nuid)
        since = blob.unused_since
        if sha256 in self._named:
            if since is not None:
                self._used.append(blob)
        elif since is None:
            self._unused.append(blob)
        elif self._began - since >= self._grace:
            removed = await blob.remove()
            self.done.removed += removed

    async def _lose(self, nuid: str) -> None:
        """No list proves that nothing names it, since what is listed changes meanwhile."""
        newest = await chunks.newest(self._client, nuid)
        if newest is None or self._began - newest.at < self._grace:
            return
        blob = Description(self._client, newest.sha256)
        if await blob.read() and blob.chunks.nuid == nuid:
            return
        removed = await chunks.purge(self._client, chunks.subject(nuid))
        self.done.uploads += bool(removed)

    async def _use(self, blob: Description) -> None:
        await blob.mark(None)

    async def _mark(self, blob: Description) -> None:
        """With the time of now: what was looked at before it, and named since, has all the grace.

        The whole log was read since this began, which may have taken longer than that.
        """
        marked = await blob.mark(await chunks.clock(self._client))
        self.done.marked += marked


async def _each(items: Iterable[_Item], work: Callable[[_Item], Awaitable[None]]) -> None:
    """Some at once. Raises the first error, when those that had begun are done or cancelled."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _Item) -> None:
        async with slots:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(item))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
