"""The projector on the real log: live, rebuilt, two at once, over damage, while traffic goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from init.outcome import Outcome
from projector import service
from projector.rebuild import rebuild
from projector.service import Projection, serve
from streams.content import inline
from streams.entries import entry
from streams.events import DepsBuilt, DepsQueued, Finished, Ran, Started, Submitted
from streams.fold import Status
from streams.limits import Limits
from streams.log import EventLog
from streams.readmodel import Progress, ReadModel
from streams.replay import woken
from streams.request import File, Request
from streams.request import TestCase as Case
from streams.results import RunResult, StageResult

pytestmark = pytest.mark.integration


async def story(log, id_, *, until=5, size=0):
    """The first events of one submission; `size` bytes of content in its files."""
    files = tuple(
        File(name=f"f{number}", content=inline(b"x" * 60_000)) for number in range(size // 60_000)
    )
    request = Request(files=files)
    told = [
        DepsBuilt(submission_id=id_, by="b", how="hit", result=StageResult(outcome=Outcome.OK)),
        Started(submission_id=id_, by="w", attempt=1, container="c"),
        Ran(submission_id=id_, by="w", result=RunResult(outcome=Outcome.OK, case=0)),
        Finished(submission_id=id_, by="w", verdict="ok"),
    ]
    last = await log.append_all([
        Submitted(submission_id=id_, by="a", request=request, environment_id="e", channel="c"),
        DepsQueued(
            submission_id=id_, by="a", environment_id="e", channel="c", files=(), limits=Limits()
        ),
    ])  # fmt: skip
    for event in told[: until - 1]:
        last = await log.append(event, after=last)
    return last


@asynccontextmanager
async def serving(nats):
    """A projector, as `python -m projector` runs it."""
    async with nats.connect("projector") as client, woken(client) as wake:
        task = asyncio.create_task(serve(EventLog(client), ReadModel(client), wake))
        try:
            yield client
        finally:
            # again and again: nats-py can lose a cancellation that comes with a message
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1)
            with suppress(asyncio.CancelledError):
                await task


async def reaches(model, sequence, seconds=10.0):
    async with asyncio.timeout(seconds):
        while await (await model.live()).checkpoint() < sequence:
            await asyncio.sleep(0.05)


async def is_the_fold(nats, ids):
    """Every entry is what the log says, byte for byte."""
    async with nats.connect("auditor") as client:
        log, generation = EventLog(client), await ReadModel(client).live()
        for id_ in ids:
            found = await generation.get(id_)
            assert found is not None, id_
            want = entry(await log.state(id_))
            assert found[0].model_dump_json() == want.model_dump_json(), id_


async def test_entries_follow_the_log(nats):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        last = [await story(log, f"s{number}", until=number % 6) for number in range(12)][-1]
        await reaches(model, last)
        await is_the_fold(nats, [f"s{number}" for number in range(12)])
        generation = await model.live()
        block = await generation.block(client, 0)
        assert (await generation.progress()).open == len([n for n in range(12) if n % 6 != 5])
        assert [id_ for _, id_ in block] == [f"s{number}" for number in reversed(range(12))]


async def test_an_entry_that_is_too_large_is_elided_and_goes_on(nats):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        last = await story(log, "big", until=1, size=600_000)
        await reaches(model, last)
        generation = await model.live()
        found = await generation.get("big")
        assert found[0].elided
        last = await log.append(
            DepsBuilt(
                submission_id="big", by="b", how="hit", result=StageResult(outcome=Outcome.OK)
            ),
            after=last,
        )
        await reaches(model, last)
        found = await generation.get("big")
        assert found[0].submission.status is Status.DEPS_BUILT
        await is_the_fold(nats, ["big"])


async def test_what_is_large_is_written_a_little_at_a_time(nats, monkeypatch):
    """What was read and not written yet lies in memory, and is read again by the next life."""
    monkeypatch.setattr(service, "_STRETCH_LETTERS", 500_000)
    sizes = []
    apply = service.Projection._apply

    async def counted(self, stretch):
        sizes.append(stretch.events)
        await apply(self, stretch)

    monkeypatch.setattr(service.Projection, "_apply", counted)
    async with nats.connect("admin") as admin, nats.connect("projector") as client:
        log, model = EventLog(admin), ReadModel(client)
        ids = [f"big{n}" for n in range(4)]
        for id_ in ids:
            await story(log, id_, until=1, size=600_000)
        await story(log, "small", until=1)
        generation = await model.live()
        projection = Projection(EventLog(client), generation, await generation.progress())
        await projection.advance()
        await is_the_fold(nats, [*ids, "small"])
    assert len(sizes) == 5


async def test_a_request_of_an_older_log_that_fills_a_message_stops_nobody(nats):
    """Its event is as large as a message may be: an entry with all of it could not be written."""
    compare = f"float:0.{'0' * (8 * 1024 * 1024 - 2000)}1"
    request = Request(files=(), test_cases=(Case(compare=compare),))
    said = Submitted(submission_id="odd", by="a", request=request, environment_id="e", channel="c")
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await log.append(said, after=0)
        last = await story(log, "next")
        await reaches(model, last)
        assert (await (await model.live()).get("odd"))[0].cut
        await is_the_fold(nats, ["odd", "next"])


async def test_a_server_of_smaller_messages_is_said_loudly_and_stops_nobody(nats, caplog):
    """As one that was set up by hand: its default is a megabyte, or less where somebody says so."""
    async with serving(nats) as client, nats.connect("admin") as admin:
        client._max_payload = 60_000
        log, model = EventLog(admin), ReadModel(client)
        last = await story(log, "large", until=1, size=120_000)
        await story(log, "next")
        said = DepsBuilt(
            submission_id="large", by="b", how="hit", result=StageResult(outcome=Outcome.OK)
        )
        last = await log.append(said, after=last)
        await reaches(model, last)
        generation = await model.live()
        found = (await generation.get("large"))[0]
        assert (found.cut, found.submission.status) == (True, Status.DEPS_BUILT)
        assert (await generation.get("next"))[0].submission.status is Status.FINISHED
        assert "60000: raise its max_payload" in caplog.text


async def test_a_rebuild_makes_the_same_entries_and_switches(nats):
    ids = [f"s{number}" for number in range(20)]
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        for id_ in ids:
            last = await story(log, id_)
        await reaches(model, last)
        for name in ("b", "a"):
            report = await rebuild(client, log, model)
            assert report.generation == name == (await model.live()).name
            assert report.comparison.equal == len(ids)
            assert not report.comparison.differ
            assert report.events == last
            await is_the_fold(nats, ids)
        last = await story(log, "later")
        await reaches(model, last)
        await is_the_fold(nats, ["later"])


async def test_a_rebuild_while_traffic_goes_on_loses_nothing(nats):
    ids = [f"s{number}" for number in range(60)]
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)

        async def traffic():
            for id_ in ids:
                last = await story(log, id_)
            return last

        running = asyncio.create_task(traffic())
        for _ in range(3):
            await asyncio.sleep(0.2)
            report = await rebuild(client, log, model)
            assert not report.comparison.differ
        last = await running
        await reaches(model, last)
        await asyncio.sleep(0.3)
        await is_the_fold(nats, ids)
        assert len(await (await model.live()).ids(client)) == len(ids)


async def test_two_projectors_do_no_harm(nats):
    ids = [f"s{number}" for number in range(30)]
    async with serving(nats) as client, serving(nats), nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await asyncio.gather(*(story(log, id_) for id_ in ids))
        await reaches(model, await log.last_sequence())
        await asyncio.sleep(0.5)
        await is_the_fold(nats, ids)


async def test_one_that_starts_again_with_an_old_checkpoint_skips(nats):
    async with nats.connect("projector") as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await story(log, "s1")
        await story(log, "big", size=600_000)
        generation = await model.live()
        await Projection(log, generation, Progress()).advance()
        revisions = [(await generation.get(id_))[1] for id_ in ("s1", "big")]
        for position in (0, 3):
            progress = Progress(sequence=position, open=1 if position else 0)
            await Projection(log, generation, progress).advance()
            assert (await generation.progress()).open == 0
        assert [(await generation.get(id_))[1] for id_ in ("s1", "big")] == revisions
        await is_the_fold(nats, ["s1", "big"])


async def test_a_late_projector_never_writes_a_part_as_the_whole(nats):
    """Its generation is cleared below it: it must read the story from its beginning."""
    async with nats.connect("projector") as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        last = await story(log, "s1", until=2)
        generation = await model.live()
        await Projection(log, generation, Progress()).advance()
        await generation.clear(client)
        await log.append(Started(submission_id="s1", by="w", container="c"), after=last)
        await Projection(log, generation, Progress(sequence=last, open=1)).advance()
        await is_the_fold(nats, ["s1"])


async def test_an_old_entry_of_a_replica_that_is_behind_spoils_nothing(nats, monkeypatch):
    """It lacks events between itself and those that come now: its fold must not be written."""
    async with nats.connect("projector") as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        generation = await model.live()
        last = await story(log, "s1", until=2)
        await Projection(log, generation, Progress()).advance()
        old = await generation.get("s1")
        last = await log.append(Started(submission_id="s1", by="w", container="c"), after=last)
        await Projection(log, generation, await generation.progress()).advance()
        said = Ran(submission_id="s1", by="w", result=RunResult(outcome=Outcome.OK, case=0))
        await log.append(said, after=last)
        answers, newest = [old], generation.get

        async def behind(submission_id):
            return answers.pop() if answers else await newest(submission_id)

        monkeypatch.setattr(generation, "get", behind)
        await Projection(log, generation, await generation.progress()).advance()
        assert answers == []
        monkeypatch.undo()
        await is_the_fold(nats, ["s1"])


async def test_damage_is_logged_with_its_sequence_and_stepped_over(nats, caplog):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await story(log, "s1")
        ack = await admin.jetstream().publish("submissions.s1.broken", b"{")
        await admin.jetstream().publish(
            "submissions.s1.zapped",
            b'{"event":"zapped","submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x","q":1}',
        )
        last = await story(log, "s2")
        await reaches(model, last)
        found = await (await model.live()).get("s1")
        assert found[0].submission.unknown[0]["q"] == 1
        await is_the_fold(nats, ["s2"])
        report = await rebuild(client, log, model)
        assert report.damaged == 1
        assert f"message {ack.seq} of the log is no event" in caplog.text


async def test_it_goes_on_after_the_server_was_away(nats):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await story(log, "s1")
        client._transport.close()
        last = await story(log, "s2")
        await reaches(model, last, 15)
        await is_the_fold(nats, ["s1", "s2"])


async def test_it_ends_when_it_is_told_even_if_nobody_heard_the_cancellation(nats):
    async with nats.connect("projector") as client:
        stop = asyncio.Event()
        serving = serve(EventLog(client), ReadModel(client), asyncio.Event(), stop)
        task = asyncio.create_task(serving)
        await asyncio.sleep(0.3)
        assert not task.done()
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.mark.keep_days(1)
async def test_an_answer_to_an_asking_that_has_left_the_log_was_open_in_no_count(nats):
    """A rebuild after an archive run: the environment's end is there, its beginning is not."""

    def asked(id_):
        return DepsQueued(
            submission_id=id_, by="a", environment_id=id_, channel="c", files=(),
            limits=Limits(), warm=True,
        )  # fmt: skip

    def answered(id_):
        result = StageResult(outcome=Outcome.OK)
        return DepsBuilt(submission_id=id_, by="b", how="built", result=result, warm=True)

    async with nats.connect("projector") as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        generation = await model.live()
        await log.append(asked("e1"), after=0)
        await log.append(answered("e1"), after=1)
        await log.append(asked("e2"), after=0)
        await Projection(log, generation, Progress()).advance()
        assert (await generation.progress()).open == 1
        await admin.jetstream().purge_stream("SUBMISSIONS", seq=2)
        await rebuild(client, log, model)
        generation = await model.live()
        assert (await generation.progress()).open == 1
        await log.append(answered("e2"), after=3)
        await Projection(log, generation, await generation.progress()).advance()
        assert (await generation.progress()).open == 0
        last = await log.append(asked("e2"), after=4)
        await log.append(answered("e2"), after=last)
        await Projection(log, generation, Progress(sequence=last, open=1)).advance()
        assert (await generation.progress()).open == 0


@pytest.mark.parametrize("room", [service._REMEMBERED_LETTERS, 500_000])
async def test_a_large_story_is_not_read_again_for_each_event_while_there_is_room(
    nats, monkeypatch, room
):
    reads, events_of = [], service.events_of

    async def counted(log, submission_id, **kwargs):
        reads.append(submission_id)
        return await events_of(log, submission_id, **kwargs)

    monkeypatch.setattr(service, "events_of", counted)
    monkeypatch.setattr(service, "_REMEMBERED_LETTERS", room)
    async with nats.connect("projector") as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        last = await story(log, "large", until=1, size=600_000)
        projection = Projection(log, await model.live(), Progress())
        await projection.advance()
        said = Started(submission_id="large", by="w", attempt=1, container="c")
        for _ in range(3):
            last = await log.append(said, after=last)
            await projection.advance()
            await is_the_fold(nats, ["large"])
        assert len(reads) == (0 if room > 600_000 else 3)
        end = Finished(submission_id="large", by="w", verdict="ok")
        await log.append(end, after=last)
        await projection.advance()
        assert projection._known == projection._letters == {}
        await is_the_fold(nats, ["large"])
