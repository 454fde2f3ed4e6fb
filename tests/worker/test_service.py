"""The service with fake containers on the real log: what it says when things go wrong."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import pytest

from init.frames import CompileDone, DependenciesDone, End, Environment, RunDone
from init.limits import GIB, MIB
from init.outcome import Outcome
from streams.cancels import tell_predecessor
from streams.errors import Conflict
from streams.events import CancelRequested, Started
from streams.log import EventLog
from streams.memory import Ledger
from streams.queues import Delivery
from tests.worker.conftest import Client, case, until
from tests.worker.fake import FakeStore, echo, maker, report
from worker import judging
from worker.carrier import Carrier
from worker.pool import Pool
from worker.room import Room
from worker.service import Service

pytestmark = pytest.mark.integration
COMPARE_CPU_SECONDS = 1


@pytest.fixture
def serving(nats, tmp_path):
    """A service whose containers answer as the test says; yields it and what was made."""

    @asynccontextmanager
    async def run(
        answer=echo, name: str = "w", *, slots=2, missing=None, grace_seconds=1, budget=64 * GIB
    ):
        made, by = [], f"worker@{name}"
        ledger = Ledger(tmp_path / "nix", budget)
        (tmp_path / "nix/var").mkdir(parents=True, exist_ok=True)
        ledger.make()
        async with (
            nats.connect("worker") as client,
            Pool(maker(answer, made), size=2, starts=2) as pool,
        ):
            log, store = EventLog(client), FakeStore(missing)
            carrier = Carrier(
                client, log, pool, by=by, store=store, memory=ledger, room=Room(64 * GIB, 1000),
                attempts=3, grace_seconds=grace_seconds,
                compare_cpu_seconds=COMPARE_CPU_SECONDS,
            )  # fmt: skip
            service = Service(
                client, log, pool, carrier, by=by, slots=slots, build_deadline_seconds=60
            )
            task = asyncio.create_task(service.serve())
            try:
                yield service, made
            finally:
                task.cancel()
                await asyncio.wait([task])
                await service.drain(0)

    return run


def answers(*scripts):
    """One script for each attempt, in turn."""
    scripts = iter(scripts)
    return lambda job: next(scripts)(job)  # noqa: PLW0108 - the next at each call


def broken(job):
    return [RunDone(0, report(Outcome.SANDBOX_ERROR, message="no cgroup")), End()]


def dies(job):
    return [0.1, None]


def ends(job):
    return [End()]


async def test_sandbox_error_is_never_a_result_but_another_attempt(serving, client):
    async with serving(answers(broken, echo)):
        id_ = await client.submit(cases=(case("x", "x"),))
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "started", "ran", "finished"]
    assert state.failures == ("sandbox-error: no cgroup",)
    assert state.verdict == "accepted"


async def test_given_up_after_as_many_attempts_as_are_allowed(serving, client):
    async with serving(answers(dies, broken, dies)):
        id_ = await client.submit()
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "started", "started", "failed"]
    assert len(state.failures) == state.attempts == 3
    assert state.failures[1] == "sandbox-error: no cgroup"


async def test_output_that_takes_too_long_to_compare_has_a_verdict_of_its_own(serving, client):
    """The same in each number, but not in its letters; beside it one that is compared."""
    expected = "1 " * 1_500_000

    def prints(job):
        return [
            RunDone(0, report(stdout=b"1.0 " * 1_500_000)), RunDone(1, report(stdout=b"1")), End()
        ]  # fmt: skip

    async with serving(prints, grace_seconds=60):
        id_ = await client.submit(
            cases=(case("", expected, compare="float:1e-6"), case("", "1", compare="float:1e-6"))
        )
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "ran", "ran", "finished"]
    assert [run.verdict for run in state.runs] == ["comparison-limit", "accepted"]
    assert state.runs[0].outcome is Outcome.OK
    assert "more than 1 s of CPU time" in state.runs[0].message
    assert state.verdict == "comparison-limit"


async def test_comparing_that_fails_through_our_fault_is_another_attempt(
    serving, client, tmp_path, monkeypatch
):
    program = tmp_path / "program.py"
    program.write_text("import os; os.kill(os.getpid(), 9)")
    real = judging._PROGRAM
    programs = iter((program, real))

    def large(job):
        monkeypatch.setattr(judging, "_PROGRAM", next(programs))
        return [RunDone(0, report(stdout=b"1 " * 20_000)), End()]

    async with serving(large):
        id_ = await client.submit(cases=(case("", "1 " * 20_000 + "1"),))
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "started", "ran", "finished"]
    assert state.failures == ("comparing stdout ended with -9: ",)
    assert state.verdict == "wrong-answer"


async def test_end_before_all_cases_is_another_attempt(serving, client):
    async with serving(answers(ends, echo)):
        id_ = await client.submit()
        state, _ = await client.ended(id_)
    assert state.failures == ("init ended after 0 of 1 runs",)


async def test_init_that_reports_more_than_the_total_allows_has_lost_its_attempt(serving, client):
    def floods(job):
        return [RunDone(0, report(stdout=b"x" * 6)), RunDone(1, report(stdout=b"x" * 5)), End()]

    def keeps_to_it(job):
        return [RunDone(0, report(stdout=b"x" * 6)), RunDone(1, report(stdout=b"x" * 4)), End()]

    async with serving(answers(floods, keeps_to_it)):
        id_ = await client.submit(cases=(case(), case()), total={"output_bytes": 10})
        state, names = await client.ended(id_)
    assert names[-6:] == ["started", "ran", "started", "ran", "ran", "finished"]
    assert "limits.total.output_bytes" in state.failures[0]
    assert state.verdict == "ok"


async def test_results_of_a_lost_attempt_are_made_again(serving, client):
    def half(job):
        return [CompileDone(report()), RunDone(0, report(stdout=b"old")), None]

    async with serving(answers(half, echo)):
        id_ = await client.submit(cases=(case("a"), case("b")))
        state, names = await client.ended(id_)
    assert names[-7:] == ["started", "compiled", "ran", "started", "ran", "ran", "finished"]
    assert [run.stdout.data for run in state.runs] == ["a", "b"]


async def test_unknown_event_in_between_is_no_hindrance(serving, client, nats):
    def slow(job):
        return [0.5, *echo(job)]

    async with serving(slow), nats.connect("admin") as admin:
        id_ = await client.submit()
        await client.reached(id_, "started")
        payload = (
            f'{{"event":"zapped","submission_id":"{id_}","at":"2030-01-01T00:00:00Z","by":"x"}}'
        )
        await admin.jetstream().publish(f"submissions.{id_}.zapped", payload.encode())
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "zapped", "ran", "finished"]
    assert state.attempts == 1


@pytest.mark.lease(5)
async def test_who_was_taken_over_says_no_more_and_acks_nothing(serving, client, nats):
    def slow(job):
        return [0.5, *echo(job)]

    async with serving(slow), nats.connect("worker") as other:
        id_ = await client.submit()
        await client.reached(id_, "started")
        before = await client.log.state(id_)
        event = Started(submission_id=id_, by="worker@other", attempt=2, container="c")
        await Client(other).log.append(event, after=before.sequence)
        await asyncio.sleep(1)
        assert [e.event for e in await client.log.history(id_)][-2:] == ["started", "started"]
        # The lease runs out, the other is silent: ours again.
        state, names = await client.ended(id_)
    assert names[-2:] == ["ran", "finished"]
    assert state.failures[-1] == "worker@other did not report within its lease"


async def test_who_was_frozen_while_it_said_started_stops_once_another_has_taken_over(
    serving, client, nats, monkeypatch
):
    """Its own `started` is in the log, the answer has not come: a look must not be lost."""
    frozen, append = asyncio.Event(), EventLog.append

    async def answered_late(log, event, *, after):
        sequence = await append(log, event, after=after)
        if event.event == "started" and event.by == "worker@w":
            await frozen.wait()
        return sequence

    monkeypatch.setattr(EventLog, "append", answered_late)
    async with (
        serving(lambda job: [20.0, End()], grace_seconds=60) as (_, made),
        nats.connect("worker") as other,
    ):
        id_ = await client.submit()
        first = (await client.reached(id_, "started"))[-1]
        event = Started(submission_id=id_, by="worker@other", attempt=2, container="c")
        await Client(other).log.append(event, after=first.sequence)
        await tell_predecessor(other, id_)
        taken = next(box for box in made if box.name == first.container)
        await until(taken.dead.is_set, 15)
        frozen.set()
        assert [e.event for e in await client.log.history(id_)][-2:] == ["started", "started"]


async def test_later_attempt_says_its_start_to_who_still_runs_an_earlier_one(serving, client, nats):
    words = []

    async def heard(message):
        words.append((message.subject, message.reply))

    async with nats.connect("admin") as admin:
        await admin.subscribe("cancel.*", cb=heard)
        await admin.flush()
        async with serving(answers(dies, echo)):
            id_ = await client.submit()
            state, _ = await client.ended(id_)
    assert state.attempts == 2
    assert words == [(f"cancel.{id_}", "")]


async def test_missed_lease_of_one_that_lives_costs_no_attempt(serving, client, monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(Delivery, "_renew", never)
    async with serving(lambda job: [5.0, *echo(job)], grace_seconds=60), serving(name="other"):
        id_ = await client.submit()
        state, names = await client.ended(id_)
    assert state.attempts == 1
    assert names[-3:] == ["started", "ran", "finished"]


async def test_cancel_that_races_with_the_start_never_runs(serving, client):
    """The durable event alone, without a word to the runner, stops it too."""
    async with serving(lambda job: [20.0, End()], grace_seconds=60):
        ids = [await client.submit() for _ in range(6)]

        async def cancel(id_):
            while True:
                state = await client.log.state(id_)
                event = CancelRequested(submission_id=id_, by="test")
                try:
                    return await client.log.append(event, after=state.sequence)
                except Conflict:
                    await asyncio.sleep(0)

        await asyncio.gather(*map(cancel, ids))
        for id_ in ids:
            _, names = await client.ended(id_, 10)
            assert names[-1] == "cancelled"


async def test_message_that_is_no_event_does_not_stop_the_others(serving, client, nats):
    async with serving(), nats.connect("admin") as admin:
        await admin.jetstream().publish("submissions.x.deps-built", b"no json")
        await admin.jetstream().publish("submissions.x.cancel-requested", b"no json")
        for _ in range(3):
            state, _ = await client.ended(await client.submit(), 10)
            assert state.verdict == "ok"


async def test_one_long_submission_does_not_hold_up_another_slot(serving, client):
    def answer(job):
        return [20.0, End()] if job.cases[0].stdin == b"slow" else echo(job)

    async with serving(answer, grace_seconds=60):
        await client.submit(cases=(case("slow"),))
        for _ in range(3):
            await client.ended(await client.submit(), 15)


async def test_silent_log_is_waited_out(serving, client, nats):
    def slow(job):
        return [0.5, *echo(job)]

    async with serving(slow):
        id_ = await client.submit()
        await client.reached(id_, "started")
        nats.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(7)
        nats.process.send_signal(signal.SIGCONT)
        state, _ = await client.ended(id_, 60)
        assert state.verdict == "ok"
        state, _ = await client.ended(await client.submit(), 30)
    assert state.verdict == "ok"


@pytest.mark.lease(60)
async def test_worker_that_stops_hands_over_at_once(serving, client):
    def answer(job):
        return [20.0, End()] if job.attempt == 1 else echo(job)

    async with serving(answer, grace_seconds=60):
        id_ = await client.submit()
        await client.reached(id_, "started")
    async with serving(answer, name="next"):
        state, _ = await client.ended(id_, 30)
    assert state.attempts == 2
    assert state.verdict == "ok"


async def test_lost_comparison_is_our_fault_and_told(serving, client):
    async with serving():
        id_ = await client.submit(cases=(case("x", "x", compare="float:much"),))
        state, _ = await client.ended(id_)
    assert state.status == "failed"
    assert "much" in state.failures[0]


async def test_what_is_not_in_the_hosts_store_is_built_by_its_container_and_told(serving, client):
    jobs = []

    def builds(job):
        jobs.append(job)
        return [DependenciesDone(report(), Environment(("/nix/store/x",), b"{}")), *echo(job)]

    async with serving(builds, missing="no cache has it"):
        id_ = await client.submit(cases=(case("x", "x"),))
        state, names = await client.ended(id_)
    assert names == [
        "submitted", "deps-queued", "deps-built", "started", "deps-built", "ran", "finished",
    ]  # fmt: skip
    assert (state.how, state.cache_miss, state.verdict) == (
        "in-container", "no cache has it", "accepted",
    )  # fmt: skip
    assert [job.environment for job in jobs] == [None]


async def test_submissions_wait_until_the_host_has_memory_for_them(serving, client):
    """Two of 600 MiB and more do not fit into a gibibyte, whatever slots there are."""

    def slow(job):
        return [1.0, RunDone(0, report()), End()]

    async with serving(slow, slots=2, budget=GIB) as (_, made):
        ids = [await client.submit(memory_bytes=600 * MIB) for _ in range(2)]
        histories = [(await client.ended(id_), await client.log.history(id_)) for id_ in ids]
    spans = sorted(
        (one.at, last.at)
        for _, events in histories
        for one, last in [(next(e for e in events if e.event == "started"), events[-1])]
    )
    assert spans[0][1] <= spans[1][0], spans
    assert [state.status for (state, _), _ in histories] == ["finished"] * 2
    assert all(box.held is None or 600 * MIB < box.held < GIB for box in made)
    assert sum(box.held is not None for box in made) == 2


async def test_one_that_waits_for_memory_is_cancelled_at_once(serving, client, nats):
    def slow(job):
        return [3.0, RunDone(0, report()), End()]

    async with serving(slow, slots=2, budget=GIB):
        first = await client.submit(memory_bytes=600 * MIB)
        await client.reached(first, "started")
        second = await client.submit(memory_bytes=600 * MIB)
        await asyncio.sleep(0.3)
        await client.cancel(second)
        state, names = await client.ended(second, 2.5)
        assert state.status == "cancelled"
        assert "started" not in names
        assert (await client.ended(first))[0].status == "finished"
