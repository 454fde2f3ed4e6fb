"""Copying the log to other servers: every event under its own sequence, the blobs, the positions.

A lone server's store can't join a cluster, so its messages are published there again, in order,
each with the sequence that must come before it: the copy either has the same sequences or stops.
A mirror would keep them too, but the servers would have to be joined for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from nats.aio.client import Client
from nats.js.api import ConsumerConfig, ConsumerInfo, DeliverPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from streams import events
from streams.archived import Register
from streams.blobs import Blobs
from streams.content import by_digest
from streams.errors import CopyRefused
from streams.queues import QUEUES
from streams.reading import Extent, extent, stored
from streams.setup import LogSettings, answering, once_formed, setup, stream_config
from streams.transfer import every, surely, windows

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What is at the target now. `in_use`: why it is not the last word, None when it is."""

    extent: Extent
    new: int
    blobs: int
    digest: str
    positions: dict[str, int]
    in_use: str | None

    def lines(self) -> list[str]:
        first, last = self.extent.first, self.extent.last
        where = ", ".join(f"{name} from {sequence}" for name, sequence in self.positions.items())
        return [
            f"the copy holds sequences {first} to {last} ({self.new} are new), {self.blobs} blobs",
            f"read back and equal, sha256 {self.digest}",
            f"its queues go on: {where}",
            *([f"NOT the last word: {self.in_use}"] if self.in_use else []),
        ]


async def copy(source: Client, target: Client, settings: LogSettings, say: Say) -> Copied:
    """Bring the target up to the source's end, and compare. Safe to run again: it goes on.

    Raises CopyRefused, LogUnavailable, BlobMissing.
    """
    for client in (source, target):
        await answering(client)
    upto = await extent(source)
    have = await _place(source, target, upto, settings)
    say(f"copying sequences {have.last + 1} to {upto.last}")
    await _messages(source, target, have.last, upto.last, say)
    positions = await _positions(source, target, upto, settings)
    await setup(target, settings)
    await _register(source, target)
    blobs = await _blobs(source, target, say)
    say("comparing")
    digest = await _compared(source, target, upto)
    return Copied(
        extent=upto,
        new=upto.last - have.last,
        blobs=blobs,
        digest=digest,
        positions=positions,
        in_use=await _in_use(source, upto),
    )


async def _place(source: Client, target: Client, upto: Extent, settings: LogSettings) -> Extent:
    """The target's stream, made when it is missing. Raises CopyRefused when it holds other things.

    Where the source's head has been archived the copy begins at the same sequence.
    """
    js = target.jetstream(timeout=30)
    try:
        await js.stream_info(events.STREAM)
    except NotFoundError:
        config = await _config(source, upto, settings)
        await once_formed(lambda: js.add_stream(config))
    have = await extent(target)
    if (have.first, have.last) == (1, 0) and upto.first > 1:
        raise CopyRefused(
            f"the target's stream begins at 1, the source's at {upto.first}: copy to servers "
            "that were never set up; the copy makes the stream itself"
        )
    if have.first != upto.first or have.last > upto.last:
        raise CopyRefused(
            f"the target holds sequences {have.first} to {have.last}, the source {upto.first} to "
            f"{upto.last}: it is no copy of this source, or it has gone on by itself"
        )
    if have.last >= have.first:
        await _same(source, target, have.last)
    for queue in QUEUES:
        at = await _consumer(js, queue.name)
        if at is not None and (at.num_waiting or (at.delivered and at.delivered.consumer_seq)):
            raise CopyRefused(f"the target is in use: somebody takes work from {queue.name}")
    return have


async def _config(source: Client, upto: Extent, settings: LogSettings) -> StreamConfig:
    """As set-up makes it, from the source's first sequence on."""
    found = await source.jetstream(timeout=30).stream_info(events.STREAM)
    config = stream_config(settings)
    known = {name: value for name, value in (found.config.metadata or {}).items() if name[0] != "_"}
    return replace(config, first_seq=upto.first, metadata=known or None)


async def _same(source: Client, target: Client, last: int) -> None:
    """The newest message of the target is the source's. Raises CopyRefused."""
    pair = [
        [
            (one.subject, one.data)
            async for batch in stored(client, after=last - 1, upto=last)
            for one in batch
        ]
        for client in (source, target)
    ]
    if pair[0] != pair[1]:
        raise CopyRefused(f"the target holds something else at sequence {last}: it is no copy")


async def _messages(source: Client, target: Client, after: int, upto: int, say: Say) -> None:
    done = after
    async for batch in every(source, after, upto):
        for window in windows(batch):
            await surely(target, done, window)
            done = window[-1].sequence
        say(f"{done} of {upto}")


async def _consumer(js: JetStreamContext, name: str) -> ConsumerInfo | None:
    try:
        found: ConsumerInfo = await js.consumer_info(events.STREAM, name)
    except NotFoundError:
        return None
    return found


async def _positions(
    source: Client, target: Client, upto: Extent, settings: LogSettings
) -> dict[str, int]:
    """Each queue begins at what is not acknowledged at the source.

    What was acknowledged out of order behind that comes again; who takes it sees in the log that
    nothing is to do.
    """
    js, there = source.jetstream(timeout=30), target.jetstream(timeout=30)
    found = {}
    for queue in QUEUES:
        at = await _consumer(js, queue.name)
        start = max(at.ack_floor.stream_seq + 1 if at and at.ack_floor else 1, upto.first)
        config: ConsumerConfig = replace(
            queue.config(settings.lease_seconds),
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
        )
        if await _consumer(there, queue.name) is not None:
            await there.delete_consumer(events.STREAM, queue.name)
        await there.add_consumer(events.STREAM, config)
        found[queue.name] = start
    return found


async def _blobs(source: Client, target: Client, say: Say) -> int:
    """All of them, each read back from the target: `bytes_of` compares the digest."""
    here, there = Blobs(source), Blobs(target)
    names, done = await here.names(), set(await there.names())
    for name in names:
        content = by_digest(b"").model_copy(update={"sha256": name})
        if name not in done:
            await there.put_all({name: await here.bytes_of(content)})
        await there.bytes_of(content)
    if names:
        say(f"{len(names)} blobs")
    return len(names)


async def _register(source: Client, target: Client) -> None:
    """What is known of submissions that have left the source's log."""
    here, there = Register(source), Register(target)
    for id_ in await here.ids() - await there.ids():
        if (found := await here.find(id_)) is not None:
            await there.note(found)


async def _compared(source: Client, target: Client, upto: Extent) -> str:
    """A digest of all that both hold. Raises CopyRefused where they differ."""
    digests = []
    for client in (source, target):
        digest, count = hashlib.sha256(), 0
        async for batch in every(client, upto.first - 1, upto.last):
            for message in batch:
                for part in (str(message.sequence).encode(), message.subject.encode()):
                    digest.update(part + b"\0")
                digest.update(hashlib.sha256(message.data).digest())
            count += len(batch)
        digests.append((count, digest.hexdigest()))
    if digests[0] != digests[1] or digests[0][0] != upto.last - upto.first + 1:
        raise CopyRefused(f"the copy differs: source and target have (events, sha256) {digests}")
    return digests[0][1]


async def _in_use(source: Client, upto: Extent) -> str | None:
    """Whether somebody still writes at the source, or takes work from it."""
    now = await extent(source)
    if now != upto:
        return f"the source has gone on to sequence {now.last}: stop its services, run this again"
    js = source.jetstream(timeout=30)
    for queue in QUEUES:
        at = await _consumer(js, queue.name)
        if at is not None and at.num_waiting:
            return f"somebody waits at the source's {queue.name}: stop its services, run this again"
    return None
