"""What goes with events that have left the log: entries of the read model, and blobs.

Found from the log as it is, not from what was just done: so the next run does what one that was
cut short has left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from nats.aio.client import Client

from streams import chunks
from streams.archive import named
from streams.archived import Register
from streams.errors import Undecodable
from streams.events import DepsBuilt, decode
from streams.reading import Extent, extent
from streams.readmodel import GENERATIONS, Built, Generation, ReadModel, where
from streams.transfer import every
from streams.unused import GRACE, Swept, sweep

_AT_ONCE: Final = 32


@dataclass(slots=True)
class Tidied:
    """What was removed."""

    entries: int = 0
    environments: int = 0
    blobs: Swept = field(default_factory=Swept)

    def line(self) -> str:
        return (
            f"read model: {self.entries} submissions and {self.environments} environments less; "
            f"blobs: {self.blobs.removed} removed, {self.blobs.marked} found unused (removed at a "
            f"later run), {self.blobs.uploads} unfinished uploads removed"
        )


@dataclass(slots=True)
class Rest:
    """What the log still says: the blobs that it names, and where each environment was built."""

    named: set[str] = field(default_factory=set)
    built: dict[str, Built] = field(default_factory=dict)


async def tidy(client: Client, grace: timedelta = GRACE) -> Tidied:
    """Raises LogUnavailable, LogFull."""
    began = await chunks.clock(client)  # of all hosts' clocks, the one that never differs
    held = await extent(client)
    rest = await _rest(client, held)
    done = Tidied()
    archived = await Register(client).ids()
    for name in GENERATIONS:
        generation = await ReadModel(client).generation(name)
        done.entries += await _submissions(client, generation, archived, held.first)
        done.environments += await _environments(client, generation, rest.built, held.first)
    done.blobs = await sweep(client, rest.named, began, grace)
    return done


async def _rest(client: Client, held: Extent) -> Rest:
    rest = Rest()
    async for batch in every(client, held.first - 1, held.last):
        for message in batch:
            rest.named |= named(message.data)
            if not message.subject.endswith(".deps-built"):
                continue
            try:
                event = decode(message.data, message.sequence, message.subject, message.headers)
            except Undecodable:
                continue
            if isinstance(event, DepsBuilt) and (found := where(event)) is not None:
                known = rest.built.get(found.id)
                if known is None or (found.how == "built" != known.how):
                    rest.built[found.id] = found
    return rest


async def _submissions(
    client: Client, generation: Generation, archived: set[str], first: int
) -> int:
    """Entries and places in the list; how many."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(key: str) -> None:
        async with slots:
            await generation.forget(client, key)

    gone = set(await generation.ids(client)) & archived
    places = [key async for key in generation.index_before(client, first)]
    await asyncio.gather(*map(one, (*gone, *places)))
    return len(gone)


async def _environments(
    client: Client, generation: Generation, built: dict[str, Built], first: int
) -> int:
    """What is still used is shown by an event that is still there; how many are not."""
    gone = 0
    for id_ in await generation.environments(client):
        known = await generation.environment(id_)
        if known is None or known.sequence >= first:
            continue
        if id_ in built:
            await generation.used(id_, partial(_moved, built[id_]))
        else:
            await generation.forget(client, f"environment.{id_}")
            gone += 1
    return gone


def _moved(there: Built, known: Built | None) -> Built:
    """Told by an event that is still there; what was counted stays counted."""
    if known is None or known.sequence >= there.sequence:
        return known or there
    counted = {"hits", "last_used", "last_sequence"}
    return there.model_copy(update={name: getattr(known, name) for name in counted})
