"""The event log on the real server: guards, atomic batches, reads, rights."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from init.outcome import Outcome
from streams import events, reading
from streams.blobs import Blobs
from streams.content import Packer, by_digest, inline
from streams.errors import BlobMissing, Conflict, EntryTooLarge, LogUnavailable
from streams.events import CancelRequested, DepsBuilt, DepsQueued, Finished, Started, Submitted
from streams.fold import Status
from streams.limits import Limits
from streams.live import live
from streams.log import EventLog
from streams.queues import BUILDERS, FALLBACK, WORKERS, deliveries
from streams.request import File, Request
from streams.results import StageResult
from streams.server import ServerConfig, passwords, server

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


def submitted(id_: str, *, cache: bool = True) -> Submitted:
    request = Request(files=(), cache=cache)
    return Submitted(submission_id=id_, by="api", request=request, environment_id="e", channel="c")


def queued(id_: str) -> DepsQueued:
    return DepsQueued(
        submission_id=id_, by="api", environment_id="e", channel="c", files=(), limits=Limits()
    )


def built(id_: str) -> DepsBuilt:
    return DepsBuilt(submission_id=id_, by="b", how="hit", result=StageResult(outcome=Outcome.OK))


async def test_submitted_and_deps_queued_become_visible_together(nats):
    async with nats.connect("api") as client:
        log = EventLog(client)
        last = await log.append_all([submitted("a1"), queued("a1")])
        history = await log.history("a1")
        assert [event.event for event in history] == ["submitted", "deps-queued"]
        assert history[-1].sequence == last
        state = await log.state("a1")
        assert state.status is Status.DEPS_QUEUED


async def test_a_batch_for_an_id_that_exists_leaves_nothing(nats):
    async with nats.connect("api") as client:
        log = EventLog(client)
        await log.append_all([submitted("a1"), queued("a1")])
        with pytest.raises(Conflict):
            await log.append_all([submitted("a1"), queued("a1")])
        assert len(await log.history("a1")) == 2


async def test_of_two_writers_with_the_same_state_one_is_refused(nats):
    async with nats.connect("api") as api, nats.connect("worker") as worker:
        last = await EventLog(api).append(submitted("a1", cache=False), after=0)
        answers = await asyncio.gather(
            EventLog(api).append(CancelRequested(submission_id="a1", by="api"), after=last),
            EventLog(worker).append(
                Started(submission_id="a1", by="w", attempt=1, container="c"), after=last
            ),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "int"]
        assert len(await EventLog(api).history("a1")) == 2


async def test_a_builder_may_not_say_that_a_submission_finished(nats):
    settings = nats.settings("builder")
    async with nats.connect("builder") as client:
        log = EventLog(client, timeout=0.2)
        with pytest.raises(LogUnavailable):
            await log.append(Finished(submission_id="a1", by="b", verdict="ok"), after=0)
        assert await log.history("a1") == []
    assert settings.nats_user == "builder"


async def test_an_event_of_a_newer_version_is_kept(nats):
    async with nats.connect("admin") as client:
        await client.jetstream().publish(
            "submissions.a1.zapped",
            b'{"event":"zapped","submission_id":"a1","at":"2030-01-01T00:00:00Z","by":"x","q":1}',
        )
        state = await EventLog(client).state("a1")
        assert state.unknown[0]["q"] == 1
        assert state.timeline[0].event == "zapped"


async def test_a_queue_delivers_again_after_the_lease_and_not_after_done(nats):
    async with nats.connect("api") as api, nats.connect("builder") as builder:
        await EventLog(api).append_all([submitted("a1"), queued("a1")])
        queue = deliveries(builder, BUILDERS)
        first = await anext(queue)
        assert first.event.event == "deps-queued"
        again = await asyncio.wait_for(anext(queue), 10)
        assert again.delivered == 2
        async with again.kept_alive():
            await asyncio.sleep(3)
        await again.done()
        await queue.aclose()
        rest = deliveries(builder, BUILDERS)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(rest), 4)
        await rest.aclose()


async def test_workers_take_built_and_uncached_and_nothing_else(nats):
    async with nats.connect("api") as api, nats.connect("worker") as worker:
        log = EventLog(api)
        last = await log.append_all([submitted("a1"), queued("a1")])
        await log.append(submitted("a2", cache=False), after=0)
        async with nats.connect("builder") as builder:
            await EventLog(builder).append(built("a1"), after=last)
        queue = deliveries(worker, WORKERS)
        seen = []
        for _ in range(2):
            delivery = await asyncio.wait_for(anext(queue), 5)
            seen.append((delivery.event.submission_id, delivery.event.event))
            await delivery.done()
        await queue.aclose()
        assert sorted(seen) == [("a1", "deps-built"), ("a2", "submitted")]


async def test_who_looks_now_and_then_gets_all_there_is_and_puts_off_what_is_not_due(nats):
    async with nats.connect("api") as api, nats.connect("worker") as worker:
        log = EventLog(api)
        queue = deliveries(worker, FALLBACK, batch=4, every_seconds=0.2)
        waiting = asyncio.create_task(anext(queue))
        await asyncio.sleep(0.5)  # it has looked, and there was nothing
        for number in range(10):
            await log.append_all([submitted(f"a{number}"), queued(f"a{number}")])
        async with asyncio.timeout(10):
            found = [await waiting, *[await anext(queue) for _ in range(9)]]
            assert {one.event.submission_id for one in found} == {f"a{n}" for n in range(10)}
            for one in found[1:]:
                await one.done()
            await found[0].later(0.5)
            again = await anext(queue)
        assert (again.event.submission_id, again.delivered) == (found[0].event.submission_id, 2)
        await again.done()
        await queue.aclose()


async def test_live_listeners_hear_what_was_accepted(nats):
    async with nats.connect("api") as client, live(client) as hub:
        log = EventLog(client)
        with hub.listen("a1") as queue:
            last = await log.append_all([submitted("a1"), queued("a1")])
            heard = [await asyncio.wait_for(queue.get(), 10) for _ in range(2)]
            assert [event.event for event in heard] == ["submitted", "deps-queued"]
            assert heard[-1].sequence == last


async def test_replay_from_any_sequence(nats):
    async with nats.connect("api") as client:
        log = EventLog(client)
        for number in range(3):
            await log.append_all([submitted(f"a{number}"), queued(f"a{number}")])
        assert [e.sequence async for e in log.read()] == [1, 2, 3, 4, 5, 6]
        assert [e.sequence async for e in log.read(after=3, upto=5)] == [4, 5]
        assert await log.last_sequence() == 6


async def test_a_large_body_goes_through_the_object_store(nats):
    data = bytes(range(256)) * 8192
    async with nats.connect("api") as client, nats.connect("worker") as worker:
        packer = Packer()
        content = packer.pack(data)
        assert content.data is None
        await Blobs(client).put_all(packer.blobs)
        await Blobs(client).put_all(packer.blobs)
        assert await Blobs(worker).bytes_of(content) == data
        with pytest.raises(BlobMissing):
            await Blobs(worker).bytes_of(by_digest(b"not stored"))


def test_subjects_are_those_of_the_design():
    assert events.subject(submitted("a1")) == "submissions.a1.submitted"
    assert events.subject(submitted("a1", cache=False)) == "submissions.a1.submitted.uncached"


async def test_a_damaged_message_does_not_hold_up_the_queue(nats):
    async with nats.connect("admin") as admin, nats.connect("builder") as builder:
        await admin.jetstream().publish("submissions.bad.deps-queued", b"{not json")
        async with nats.connect("api") as api:
            await EventLog(api).append_all([submitted("a1"), queued("a1")])
        queue = deliveries(builder, BUILDERS)
        delivery = await asyncio.wait_for(anext(queue), 5)
        assert delivery.event.submission_id == "a1"
        await delivery.done()
        await queue.aclose()


async def test_what_is_refused_but_was_stored_before_is_not_said_twice(nats):
    """As a leader that steps down may do it: the answer is a refusal, and the event is there."""
    async with nats.connect("worker") as client, nats.connect("api") as api:
        log = EventLog(client)
        last = await EventLog(api).append(submitted("a1", cache=False), after=0)
        event = Started(submission_id="a1", by="w", attempt=1, container="c")
        sequence = await log.append(event, after=last)
        assert await log.append(event, after=last) == sequence
        another = event.model_copy(update={"at": events.now()})
        with pytest.raises(Conflict):
            await log.append(another, after=last)
        assert [event.event for event in await log.history("a1")] == ["submitted", "started"]


async def test_older_than_what_is_known_to_be_there_is_no_answer(nats):
    """A replica that is behind: nobody may decide on what it says."""
    async with nats.connect("api") as client:
        log = EventLog(client, timeout=0.5)
        last = await log.append(submitted("a1", cache=False), after=0)
        assert (await log.state("a1", reaching=last)).sequence == last
        with pytest.raises(LogUnavailable, match="behind"):
            await log.state("a1", reaching=last + 1)
        reading = asyncio.create_task(EventLog(client).state("a1", reaching=last + 1))
        await asyncio.sleep(0.2)
        await log.append(CancelRequested(submission_id="a1", by="api"), after=last)
        assert (await reading).cancel_requested
        assert await log.newest(events.guard("nobody")) == 0


async def test_the_server_holds_nothing_of_ours(nats, tmp_path):
    """Whoever reads our output to its end must not wait for a server that has outlived us."""
    held = [str(Path(f"/proc/{nats.process.pid}/fd/{number}").readlink()) for number in range(3)]
    log = str(tmp_path / "nats" / "nats.log")
    assert held == ["/dev/null", log, log]


async def test_ports_that_a_killed_life_has_told_are_not_believed(tmp_path):
    """Its pid may be the next server's."""
    folder = tmp_path / "nats"
    folder.mkdir()
    stale = folder / "nats-server_7.ports"
    stale.write_text('{"nats": ["nats://127.0.0.1:1"]}')
    config = ServerConfig(folder, passwords(tmp_path / "secrets.json"), port=-1)
    async with server(config) as (process, _):
        assert [file.name for file in folder.glob("*.ports")] == [
            f"nats-server_{process.pid}.ports"
        ]


async def test_what_the_server_would_close_the_connection_for_is_not_sent(nats):
    """It counts the headers as well, and the client, which does not, would never come back."""
    async with nats.connect("api") as client:
        log = EventLog(client)
        one = submitted("a1").model_copy(update={"environment_id": ""})
        room = client.max_payload - len(events.encode(one))
        with pytest.raises(EntryTooLarge, match="a1"):
            await log.append(one.model_copy(update={"environment_id": "e" * (room - 50)}), after=0)
        assert await log.append(
            one.model_copy(update={"environment_id": "e" * (room - 400)}), after=0
        )
        assert not client.is_closed


async def test_a_queue_ends_with_an_error_when_the_connection_is_closed_for_good(nats):
    """So its process ends too, and whoever keeps it makes a new connection."""
    async with nats.connect("builder") as builder:
        queue = deliveries(builder, BUILDERS)
        waiting = asyncio.create_task(anext(queue))
        await asyncio.sleep(0.5)
        await builder.close()
        with pytest.raises(LogUnavailable, match="closed"):
            await asyncio.wait_for(waiting, 20)


async def test_events_larger_than_an_answer_are_read_and_few_answers_come_at_once(
    nats, monkeypatch
):
    """The server closes a connection for which too much waits to be sent."""
    now, most, answer = 0, 0, reading._answer

    async def counted(*given):
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await answer(*given)
        finally:
            now -= 1

    monkeypatch.setattr(reading, "_answer", counted)
    large = tuple(File(name=f"f{n}", content=inline(b"x" * MIB)) for n in range(6))
    async with nats.connect("api") as client:
        log = EventLog(client)
        for n in range(4):
            event = submitted(f"a{n}", cache=False)
            request = event.request.model_copy(update={"files": large})
            await log.append(event.model_copy(update={"request": request}), after=0)
        stories = await asyncio.gather(*(log.history(f"a{n % 4}") for n in range(24)))
        assert [len(story[0].request.files) for story in stories] == [6] * 24
        assert [event.submission_id for event in [e async for e in log.read()]] == [
            f"a{n}" for n in range(4)
        ]
    assert 1 < most <= reading._ANSWERS
