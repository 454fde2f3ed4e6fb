"""The object store on the real server, with the services' own rights: races, cancels, no room."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from pydantic import ValidationError

from streams import chunks
from streams.blobs import Blobs
from streams.chunks import CHUNK_BYTES, STREAM
from streams.content import by_digest
from streams.errors import BlobMissing, LogFull
from streams.setup import LogSettings, setup
from streams.unused import sweep

pytestmark = pytest.mark.integration
MIB = 1024 * 1024
NONE = timedelta(0)


def named(data: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(data).hexdigest(): data}


async def uploads(admin) -> int:
    """How often chunks were written that are still there."""
    return len(await chunks.nuids(admin))


async def size(admin) -> int:
    return (await admin.jetstream().stream_info(STREAM)).state.bytes


async def bound(admin, bytes_: int) -> None:
    js = admin.jetstream()
    config = (await js.stream_info(STREAM)).config
    await js.update_stream(replace(config, max_bytes=bytes_))


async def test_same_new_blob_from_many_writers_at_once_is_stored_for_all_of_them(nats):
    data = os.urandom(100_000)
    content = by_digest(data)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(nats.connect(user))
            for user in ("api", "worker", "builder") * 2
        ]
        stores = [Blobs(client) for client in clients]

        async def put(number: int) -> None:
            await asyncio.sleep(0.004 * number)
            await stores[number % len(stores)].put_all(named(data))

        await asyncio.gather(*map(put, range(24)))
        admin = await stack.enter_async_context(nats.connect("admin"))
        assert await stores[0].bytes_of(content) == data
        # One copy is described; a connection that was second has left another, and that goes.
        assert 1 <= await uploads(admin) <= len(stores)
        await sweep(admin, {content.sha256}, datetime.now(UTC), NONE)
        assert await uploads(admin) == 1
        assert await size(admin) < 1.1 * len(data)
        assert await stores[1].bytes_of(content) == data


async def test_writer_that_finds_another_was_first_is_done(nats, monkeypatch):
    """The other one is first between this one's look and its chunks."""
    data = os.urandom(200_000)
    write = chunks.write
    async with nats.connect("api") as api, nats.connect("worker") as worker:
        other = Blobs(worker)

        async def late(client, *args):
            if client is api:
                await other.put_all(named(data))
            return await write(client, *args)

        monkeypatch.setattr(chunks, "write", late)
        await Blobs(api).put_all(named(data))
        assert await Blobs(api).bytes_of(by_digest(data)) == data


async def test_one_process_uploads_a_content_once(nats):
    data = os.urandom(300_000)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        blobs = Blobs(api)
        await asyncio.gather(*(blobs.put_all(named(data)) for _ in range(24)))
        assert await uploads(admin) == 1


@pytest.mark.parametrize("length", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 11 * CHUNK_BYTES, 5 * MIB])
async def test_what_is_stored_is_read_by_any_client_of_the_object_store(nats, length):
    data = os.urandom(length)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        content = by_digest(data)
        await Blobs(api).put_all(named(data))
        store = await admin.jetstream().object_store(chunks.BUCKET)
        # It compares the digest that stands in the description.
        assert (await store.get(content.sha256)).data == data
        info = await store.get_info(content.sha256)
        assert (info.size, info.chunks) == (length, -(-length // CHUNK_BYTES))
        assert [one.name for one in await store.list()] == [content.sha256]
        assert await Blobs(api).bytes_of(content) == data


async def test_what_another_client_has_stored_is_read(nats):
    data = os.urandom(MIB)
    async with nats.connect("worker") as worker, nats.connect("admin") as admin:
        content = by_digest(data)
        store = await admin.jetstream().object_store(chunks.BUCKET)
        await store.put(content.sha256, io.BytesIO(data))
        assert await Blobs(worker).bytes_of(content) == data


async def test_read_that_is_cancelled_leaves_nothing_behind(nats):
    data = os.urandom(8 * MIB)
    content = by_digest(data)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        blobs = Blobs(api)
        await blobs.put_all(named(data))
        assert await blobs.bytes_of(content) == data
        before = len(api._subs)
        for number in range(10):
            reading = asyncio.create_task(blobs.bytes_of(content))
            await asyncio.sleep(0.01 * number)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert len(api._subs) == before
        assert await admin.jetstream().consumers_info(STREAM) == []
        assert await blobs.bytes_of(content) == data


async def test_write_that_is_cancelled_leaves_no_subscription_and_its_chunks_are_swept(
    nats, monkeypatch
):
    data = os.urandom(8 * MIB)
    acked, reached = chunks._acked, asyncio.Event()

    async def stuck(acks, reply, after):
        if reply.endswith(".20"):
            reached.set()
            await asyncio.Event().wait()
        return await acked(acks, reply, after)

    async with nats.connect("api") as api, nats.connect("admin") as admin:
        blobs = Blobs(api)
        await blobs.put_all(named(b"first"))  # nats-py hears answers from its first request on
        before = len(api._subs)
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "_acked", stuck)
            writing = asyncio.create_task(blobs.put_all(named(data)))
            await reached.wait()
            assert len(api._subs) == before + 1
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        assert len(api._subs) == before
        await blobs.put_all(named(data))
        done = await sweep(admin, {*named(data), *named(b"first")}, datetime.now(UTC), NONE)
        assert (done.marked, done.removed, done.uploads) == (0, 0, 1)
        assert await blobs.bytes_of(by_digest(data)) == data


async def test_store_without_room_says_so_at_once_and_a_sweep_makes_some(nats):
    kept, unused = os.urandom(2 * CHUNK_BYTES), os.urandom(2 * CHUNK_BYTES)
    large, other = os.urandom(MIB), os.urandom(2 * CHUNK_BYTES)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        blobs = Blobs(api)
        await blobs.put_all(named(kept) | named(unused))
        await sweep(admin, set(named(kept)), datetime.now(UTC), NONE)
        await bound(admin, await size(admin) + 3 * CHUNK_BYTES)
        began = time.monotonic()
        with pytest.raises(LogFull, match="maximum bytes exceeded"):
            await blobs.put_all(named(large))
        # Not a time-out's length; what came into the store takes the rest of the room.
        assert time.monotonic() - began < 4
        with pytest.raises(LogFull):
            await blobs.put_all(named(other))
        done = await sweep(admin, set(named(kept)), datetime.now(UTC), NONE)
        assert (done.removed, done.uploads) == (1, 1)
        await blobs.put_all(named(other))
        assert await blobs.bytes_of(by_digest(kept)) == kept
        with pytest.raises(BlobMissing):
            await blobs.bytes_of(by_digest(unused))


async def test_replica_that_is_behind_is_asked_again(nats, monkeypatch):
    data = os.urandom(3 * CHUNK_BYTES)
    direct_get, asked = chunks.direct_get, []

    async def behind(*args, **kwargs):
        asked.append(args)
        found, pending = await direct_get(*args, **kwargs)
        return {1: found[:2], 2: []}.get(len(asked), found), pending

    async with nats.connect("api") as api:
        await Blobs(api).put_all(named(data))
        monkeypatch.setattr(chunks, "direct_get", behind)
        assert await Blobs(api).bytes_of(by_digest(data)) == data
        assert len(asked) == 3


async def test_blob_without_its_chunks_is_missing(nats):
    data = os.urandom(2 * CHUNK_BYTES)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        await Blobs(api).put_all(named(data))
        for nuid in await chunks.nuids(admin):
            await chunks.purge(admin, chunks.subject(nuid))
        with pytest.raises(BlobMissing, match="lacks a part"):
            await Blobs(api).bytes_of(by_digest(data))


async def test_no_service_makes_a_consumer_of_blobs_or_removes_any(nats):
    calls = ("CONSUMER.CREATE", "STREAM.MSG.DELETE", "STREAM.UPDATE", "STREAM.PURGE")
    for user in ("api", "builder", "worker", "auditor"):
        async with nats.connect(user) as client:
            asked = (
                client.request(f"$JS.API.{call}.{STREAM}", b"{}", timeout=0.5) for call in calls
            )
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(answer) for answer in answers] == [NatsTimeoutError] * len(calls)
    async with nats.connect("admin") as client:  # the control: who has the right is answered
        for call in calls:
            answer = await client.request(f"$JS.API.{call}.{STREAM}", b"{}", timeout=10)
            assert b'"type":"io.nats.jetstream.api.v1.' in answer.data, answer.data


async def test_set_up_bounds_the_object_store_and_takes_the_bound_back(nats):
    data = os.urandom(4 * CHUNK_BYTES)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        for bytes_ in (50 * MIB, 60 * MIB, -1):
            await setup(admin, LogSettings(lease_seconds=2, blobs_max_bytes=bytes_))
            config = (await admin.jetstream().stream_info(STREAM)).config
            assert (config.max_bytes, config.allow_direct) == (bytes_, True)
        await Blobs(api).put_all(named(data))
        # Below what is there: it stays, and nothing is added.
        await setup(admin, LogSettings(lease_seconds=2, blobs_max_bytes=1000))
        with pytest.raises(LogFull):
            await Blobs(api).put_all(named(b"more"))
        assert await Blobs(api).bytes_of(by_digest(data)) == data
    with pytest.raises(ValidationError):
        LogSettings(blobs_max_bytes=-2)
