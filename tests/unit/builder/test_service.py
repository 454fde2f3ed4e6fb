"""The service around the decisions, with a log in memory that guards as the real one does."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from builder.builds import Builds, Built
from builder.catalogue import Catalogue, Record
from builder.errors import DaemonFailed
from builder.service import Service
from builder.settings import BuilderSettings
from init.frames import Report
from init.outcome import Outcome
from streams.content import inline
from streams.environments import environment_id
from streams.errors import Conflict, LogUnavailable
from streams.events import CancelRequested, DepsQueued, Started, Submitted
from streams.fold import fold_all
from streams.limits import Limits
from streams.request import File, Request

ID = environment_id([("shell.nix", b"x")], "c")
COMMON = {"submission_id": "a1", "by": "test", "environment_id": ID, "channel": "c"}


class FakeLog:
    def __init__(self):
        self.events = []
        self.before_append = []  # events of others that come first

    def add(self, event):
        self.events.append(event.model_copy(update={"sequence": len(self.events) + 1}))

    async def state(self, submission_id, root="submissions", *, reaching=0):
        return fold_all(e for e in self.events if e.submission_id == submission_id)

    async def append(self, event, *, after):
        while self.before_append:
            self.add(self.before_append.pop())
        if after != (await self.state(event.submission_id)).sequence:
            raise Conflict(event.submission_id, after)
        self.add(event)
        return len(self.events)


class FakeBlobs:
    def __init__(self):
        self.stored = {}
        self.puts = 0

    async def put_all(self, blobs):
        self.puts += len(blobs)
        self.stored |= blobs

    async def bytes_of(self, content):
        return content.inline()


class FakeDelivery:
    def __init__(self, event, delivered=1):
        self.event = event
        self.delivered = delivered
        self.ends = []

    @asynccontextmanager
    async def kept_alive(self):
        yield

    async def done(self):
        self.ends.append("done")

    async def later(self, seconds):
        self.ends.append(seconds)


class Bench:
    """A service whose builds are what `self.end` says, after `self.seconds`."""

    def __init__(self, folder):
        path = folder / "store" / "x"
        path.mkdir(parents=True)
        self.record = Record(ID, str(path), (str(path),), "{}", "now", 1.0)
        self.catalogue = Catalogue(folder / "records", folder / "roots")
        self.log = FakeLog()
        self.blobs = FakeBlobs()
        self.end = Built(Report(Outcome.OK, 0, None, 1.0, 1.0, 1, stderr=b"words"), self.record)
        self.seconds = 0.0
        self.built = 0
        self.stopped = 0
        settings = BuilderSettings(
            channel_revision="c", builder_name="b", builder_watch_seconds=0.02
        )
        made = Builds(self._build, jobs=1, wall_seconds=1800)
        self.service = Service(settings, self.log, self.blobs, self.catalogue, made)
        files = (File(name="shell.nix", content=inline(b"x")),)
        self.queued = DepsQueued(files=files, limits=Limits(), **COMMON)
        self.log.add(Submitted(request=Request(files=files), **COMMON))
        self.log.add(self.queued)

    async def _build(self, order, stop):
        self.built += 1
        try:
            async with asyncio.timeout(self.seconds):
                await stop.wait()
                self.stopped += 1
        except TimeoutError:
            pass
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    async def handle(self, event=None, **more):
        delivery = FakeDelivery(event or self.queued, **more)
        await self.service.handle(delivery)
        return delivery.ends

    def said(self):
        return [event for event in self.log.events if event.event == "deps-built"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_what_was_built_is_said_then_acknowledged(bench):
    assert await bench.handle() == ["done"]
    (said,) = bench.said()
    assert (said.how, said.by, said.environment.path) == ("built", "builder@b", bench.record.path)
    assert said.result.stderr.data == "words"


async def test_a_hit_needs_no_build(bench):
    await bench.catalogue.keep(bench.record)
    await bench.handle()
    assert (bench.said()[0].how, bench.built) == ("hit", 0)


async def test_a_failed_shell_is_a_result_without_environment(bench):
    bench.end = Built(Report(Outcome.NONZERO_EXIT, 1, None, 1.0, 1.0, 1))
    assert await bench.handle() == ["done"]
    assert bench.said()[0].environment is None


async def test_our_own_fault_is_put_back_and_nothing_is_said(bench):
    bench.end = DaemonFailed("j", "words")
    (seconds,) = await bench.handle(delivered=3)
    assert seconds > 1
    assert bench.said() == []


@pytest.mark.parametrize("submitted", [True, False])
async def test_a_withdrawn_warming_ends_its_build_unless_a_submission_waits_for_it(
    bench, submitted
):
    bench.seconds = 5.0
    warm = bench.queued.model_copy(update={"submission_id": ID, "warm": True})
    bench.log.add(warm)
    handled = [asyncio.create_task(bench.handle(bench.log.events[-1]))]
    if submitted:
        handled.append(asyncio.create_task(bench.handle()))
    while not bench.built:
        await asyncio.sleep(0.01)
    bench.log.add(CancelRequested(submission_id=ID, by="api", warm=True))
    assert await handled[0] == ["done"]
    await asyncio.sleep(0.1)
    assert (bench.built, bench.stopped) == (1, 0 if submitted else 1)
    if submitted:
        assert await handled[1] == ["done"]
    assert [said.submission_id for said in bench.said()] == (["a1"] if submitted else [])


async def test_a_warming_that_meets_our_fault_at_each_try_is_told_in_the_end(bench):
    warm = bench.queued.model_copy(update={"submission_id": ID, "warm": True})
    bench.log.add(warm)
    warm = bench.log.events[-1]
    bench.end = DaemonFailed("j", "words")
    (seconds,) = await bench.handle(warm, delivered=19)
    assert (seconds, bench.said()) == (15, [])
    assert await bench.handle(warm, delivered=20) == ["done"]
    (said,) = bench.said()
    assert (said.warm, said.environment, said.result.outcome) == (True, None, "sandbox-error")
    assert "20 tries" in said.result.message
    assert "words" in said.result.message


async def test_what_cannot_even_be_told_is_put_back(bench):
    warm = bench.queued.model_copy(update={"submission_id": ID, "warm": True})
    bench.log.add(warm)

    async def broken(event, *, after):
        raise LogUnavailable("publish", "no answer")

    bench.log.append = broken
    assert await bench.handle(bench.log.events[-1], delivered=20) == [15]


async def test_a_submission_that_meets_our_fault_is_never_given_up_by_a_builder(bench):
    bench.end = DaemonFailed("j", "words")
    assert await bench.handle(delivered=1000) == [15]
    assert bench.said() == []


async def test_a_surprise_is_put_back_too(bench):
    bench.end = RuntimeError("who would have thought")
    (seconds,) = await bench.handle()
    assert isinstance(seconds, float)


async def test_the_same_message_again_says_nothing_twice(bench):
    await bench.handle()
    assert await bench.handle() == ["done"]
    assert len(bench.said()) == 1


@pytest.mark.parametrize("at", ["before", "while it builds", "as we speak"])
@pytest.mark.parametrize("kind", ["cancelled", "started without us"])
async def test_one_that_has_moved_on_is_told_nothing(bench, at, kind):
    common = {"submission_id": "a1", "by": "other"}
    event = (
        CancelRequested(**common)
        if kind == "cancelled"
        else Started(attempt=1, container="c", **common)
    )
    if at == "before":
        bench.log.add(event)
        assert await bench.handle() == ["done"]
        assert bench.built == 0
    elif at == "while it builds":
        bench.seconds = 30
        handling = asyncio.create_task(bench.handle())
        await asyncio.sleep(0.05)
        bench.log.add(event)
        assert await asyncio.wait_for(handling, 5) == ["done"]
        await asyncio.sleep(0.05)
        assert bench.stopped == 1
    else:
        bench.log.before_append.append(event)
        assert await bench.handle() == ["done"]
    assert bench.said() == []


async def test_a_log_that_does_not_answer_puts_it_back(bench):
    async def broken(event, *, after):
        raise LogUnavailable("publish", "no answer")

    bench.log.append = broken
    (seconds,) = await bench.handle()
    assert isinstance(seconds, float)


async def test_another_channels_shell_is_not_built_here(bench):
    (seconds,) = await bench.handle(bench.queued.model_copy(update={"channel": "other"}))
    assert (isinstance(seconds, float), bench.built) == (True, 0)


async def test_files_that_are_not_the_ids_are_not_built_under_it(bench):
    wrong = bench.queued.model_copy(update={"environment_id": "0" * 32})
    (seconds,) = await bench.handle(wrong)
    assert (isinstance(seconds, float), bench.built) == (True, 0)


async def test_a_large_profile_is_stored_once_and_before_the_event(bench):
    bench.record = replace(bench.record, profile="x" * 100_000)
    await bench.catalogue.keep(bench.record)
    await bench.handle()
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    assert bench.said()[0].environment.profile.sha256 == digest
    assert digest in bench.blobs.stored
    bench.log.events = bench.log.events[:2]
    await bench.handle()
    assert bench.blobs.puts == 1


async def test_deliveries_are_handled_side_by_side(bench):
    bench.seconds = 0.3
    other = DepsQueued(**{**bench.queued.model_dump(), "submission_id": "a2"})
    bench.log.add(bench.log.events[0].model_copy(update={"submission_id": "a2"}))
    bench.log.add(other)
    all_ = [FakeDelivery(bench.queued), FakeDelivery(other)]

    async def queue():
        for delivery in all_:
            yield delivery

    await asyncio.wait_for(bench.service.serve(queue()), 5)
    assert bench.built == 1
    assert [delivery.ends for delivery in all_] == [["done"], ["done"]]
    assert sorted(event.how for event in bench.said()) == ["built", "joined"]


async def test_a_hit_waits_for_no_build_and_what_finds_no_place_comes_again(bench):
    bench.service._settings = bench.service._settings.model_copy(update={"builder_held": 1})
    bench.seconds = 60.0
    known = replace(bench.record, id="e" * 64)
    await bench.catalogue.keep(known)
    for number, environment in ((2, ID), (3, known.id)):
        own = {"submission_id": f"a{number}", "environment_id": environment}
        bench.log.add(bench.log.events[0].model_copy(update=own))
        bench.log.add(bench.queued.model_copy(update=own))
    slow, late, hit = (
        FakeDelivery(event) for event in bench.log.events if event.event == "deps-queued"
    )

    async def queue():
        for delivery in (slow, late, hit):
            yield delivery

    serving = asyncio.create_task(bench.service.serve(queue()))
    async with asyncio.timeout(5):
        while not (hit.ends and late.ends):
            await asyncio.sleep(0.01)
    assert (slow.ends, late.ends, hit.ends) == ([], [1.0], ["done"])
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
