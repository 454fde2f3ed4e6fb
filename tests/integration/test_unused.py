"""What nothing names leaves the object store of the real server, and nothing else does."""

from __future__ import annotations

import asyncio
import io
import os
from datetime import UTC, datetime, timedelta

import pytest

from streams import chunks
from streams.blobs import Blobs
from streams.chunks import CHUNK_BYTES
from streams.content import by_digest
from streams.description import Description
from streams.unused import Swept, sweep
from tests.integration.test_blobs import NONE, named, uploads

pytestmark = pytest.mark.integration


async def test_sweep_leaves_an_upload_under_way_alone(nats, monkeypatch):
    data, lost = os.urandom(3 * CHUNK_BYTES), os.urandom(3 * CHUNK_BYTES)
    create, reached, go_on = Description.create, asyncio.Event(), asyncio.Event()
    async with nats.connect("worker") as worker, nats.connect("admin") as admin:
        await chunks.write(worker, by_digest(lost).sha256, lost)
        between = await chunks.clock(admin)

        async def late(self, written):
            reached.set()
            await go_on.wait()
            return await create(self, written)

        monkeypatch.setattr(Description, "create", late)
        putting = asyncio.create_task(Blobs(worker).put_all(named(data)))
        await reached.wait()
        assert await uploads(admin) == 2
        assert (await sweep(admin, set(), between, NONE)).uploads == 1
        assert await uploads(admin) == 1
        assert (await sweep(admin, set(), between, timedelta(hours=1))).uploads == 0
        go_on.set()
        await putting
        assert await Blobs(worker).bytes_of(by_digest(data)) == data


async def test_sweep_counts_what_it_does(nats):
    """Many at once."""
    data = {sha256: one for n in range(20) for sha256, one in named(os.urandom(n + 1)).items()}
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        blobs = Blobs(api)
        await blobs.put_all(data)
        for one in range(20):
            await chunks.write(api, f"{one:064}", b"lost")
        first = await sweep(admin, set(), datetime.now(UTC), NONE)
        assert first == Swept(marked=20, removed=0, uploads=20)
        later = await sweep(admin, set(list(data)[:5]), datetime.now(UTC), NONE)
        assert later == Swept(marked=0, removed=15, uploads=0)
        assert len(await Blobs(admin).names()) == await uploads(admin) == 5
        last = await sweep(admin, set(), datetime.now(UTC), NONE)
        assert last == Swept(marked=5, removed=0, uploads=0)


async def test_sweep_removes_no_chunks_of_what_a_list_has_left_out(nats, monkeypatch):
    """Of another client's too: it does not say which blob they are of."""
    ours, others = os.urandom(100_000), os.urandom(100_000)
    contents = [by_digest(data) for data in (ours, others)]
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        await Blobs(api).put_all(named(ours))
        store = await admin.jetstream().object_store(chunks.BUCKET)
        await store.put(contents[1].sha256, io.BytesIO(others))

        async def nothing(_self):
            return []

        monkeypatch.setattr(Blobs, "names", nothing)
        assert await sweep(admin, set(), datetime.now(UTC), NONE) == Swept()
        assert [await Blobs(api).bytes_of(content) for content in contents] == [ours, others]


async def test_a_mark_is_as_old_as_its_writing_however_long_the_log_was_read(nats):
    """Else a blob could go at the next sweep, though its story began when it was marked."""
    data = os.urandom(1000)
    async with nats.connect("api") as api, nats.connect("admin") as admin:
        await Blobs(api).put_all(named(data))
        hour = timedelta(hours=1)
        began = await chunks.clock(admin)
        long_ago = began - 2 * hour
        assert (await sweep(admin, set(), long_ago, hour)).marked == 1
        assert (await sweep(admin, set(), await chunks.clock(admin), hour)).removed == 0
        blob = Description(admin, by_digest(data).sha256)
        assert await blob.read()
        assert blob.unused_since >= began
        later = await chunks.clock(admin) + 2 * hour
        assert (await sweep(admin, set(), later, hour)).removed == 1
