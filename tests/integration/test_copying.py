"""The log copied from one real server to another: everything as it was, or a refusal in words."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from nats.js.api import ConsumerConfig

from streams.blobs import Blobs
from streams.content import by_digest
from streams.copying import copy
from streams.errors import CopyRefused
from streams.log import EventLog
from streams.queues import WORKERS, deliveries
from streams.reading import extent, stored
from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup
from streams.transfer import kept
from tests.conftest import Nats
from tests.projector.test_projector import story

pytestmark = pytest.mark.integration
SETTINGS = LogSettings(lease_seconds=2.0)


@pytest.fixture
def said():
    return []


@asynccontextmanager
async def elsewhere(folder):
    """Another server that was never set up."""
    secrets = passwords(folder / "elsewhere.json")
    async with server(ServerConfig(folder / "elsewhere", secrets, port=-1)) as (process, url):
        running = Nats(url, secrets, process)
        async with running.connect("admin") as client:
            yield client


async def everything(client) -> list[tuple]:
    until = await extent(client)
    return [
        (message.sequence, message.subject, message.data, kept(message.own_headers))
        async for batch in stored(client, after=until.first - 1, upto=until.last)
        for message in batch
    ]


async def test_copy_is_the_same_log_with_its_blobs_and_goes_on(nats, tmp_path, said):
    data = b"large" * 100_000
    content = by_digest(data)
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        log = EventLog(source)
        for number in range(30):
            last = await story(log, f"s{number}", until=5 if number < 29 else 2)
        await Blobs(source).put_all({content.sha256: data})
        report = await copy(source, target, SETTINGS, said.append)
        assert (report.extent.first, report.extent.last, report.new) == (1, last, last)
        assert report.in_use is None
        assert await everything(target) == await everything(source)
        assert await Blobs(target).bytes_of(content) == data

        # The source goes on meanwhile: the next run brings the rest.
        last = await story(log, "later")
        report = await copy(source, target, SETTINGS, said.append)
        assert (report.new, report.extent.last) == (6, last)
        assert await everything(target) == await everything(source)

        report = await copy(source, target, SETTINGS, said.append)
        assert (report.new, report.extent.last) == (0, last)
        await setup(target, SETTINGS)
        assert await story(EventLog(target), "new", until=1) == last + 2


async def test_what_was_acknowledged_is_not_work_again(nats, tmp_path, said):
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        log = EventLog(source)
        for number in range(6):
            await story(log, f"s{number}")
        taken = 0
        async for delivery in deliveries(source, WORKERS):
            await delivery.done()
            taken += 1
            if taken == 4:
                break
        report = await copy(source, target, SETTINGS, said.append)
        await setup(target, SETTINGS)
        async for delivery in deliveries(target, WORKERS):
            assert delivery.event.submission_id == "s4"
            break
        ended = await log.history("s3")
        assert report.positions["workers"] == ended[2].sequence + 1


async def test_source_in_use_is_told(nats, tmp_path, said):
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        await story(EventLog(source), "s")
        js = source.jetstream()
        waiting = await js.pull_subscribe_bind(consumer="builders", stream="SUBMISSIONS")
        await (await waiting.fetch(1))[0].ack()
        query = b'{"batch":1,"expires":20000000000}'
        name = "$JS.API.CONSUMER.MSG.NEXT.SUBMISSIONS.builders"
        inbox = source.new_inbox()
        await source.subscribe(inbox)
        await source.publish(name, query, reply=inbox)
        report = await copy(source, target, SETTINGS, said.append)
        assert "somebody waits at the source's builders" in report.in_use


async def test_target_with_another_history_is_refused(nats, tmp_path, said):
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        await story(EventLog(source), "s1")
        await setup(target, SETTINGS)
        await story(EventLog(target), "s2")
        before = await everything(target)
        with pytest.raises(CopyRefused, match="something else at sequence 6"):
            await copy(source, target, SETTINGS, said.append)
        assert await everything(target) == before


async def test_target_that_has_gone_on_is_refused(nats, tmp_path, said):
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        await story(EventLog(source), "s1")
        await copy(source, target, SETTINGS, said.append)
        await story(EventLog(target), "s2")
        with pytest.raises(CopyRefused, match="gone on by itself"):
            await copy(source, target, SETTINGS, said.append)


async def test_log_with_a_gap_is_refused(nats, tmp_path, said):
    """It can't be, since nothing is ever deleted: a stream that was made otherwise."""
    async with nats.connect("admin") as source, elsewhere(tmp_path) as target:
        js = source.jetstream()
        await js.delete_stream("SUBMISSIONS")
        await js.add_stream(name="SUBMISSIONS", subjects=["submissions.>"], allow_direct=True)
        await js.add_consumer("SUBMISSIONS", ConsumerConfig(durable_name="workers"))
        await story_of_three(js)
        await js.delete_msg("SUBMISSIONS", 2)
        with pytest.raises(CopyRefused, match="lacks sequence 2"):
            await copy(source, target, SETTINGS, said.append)


async def story_of_three(js) -> None:
    for name in ("one", "two", "three"):
        await js.publish(f"submissions.s.{name}", b"{}")
