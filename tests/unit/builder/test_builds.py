"""Joining: many waiters, one build.

The build is a fake that keeps the real one's contract: it ends when it is done or soon
after `stop` is set, and raises BuilderError when we are at fault.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from builder.builds import Builds, Built, Order
from builder.catalogue import Record
from builder.errors import DaemonFailed
from builder.shared import Shared
from init.frames import Report
from init.limits import GIB, Stage, defaults
from init.outcome import Outcome
from streams.memory import Ledger

LIMITS = defaults(Stage.DEPENDENCIES)
RECORD = Record("e", "/nix/store/x", ("/nix/store/x",), "{}", "now", 1.0)
OK = Built(Report(Outcome.OK, 0, None, 1.0, 1.0, 1), RECORD)
STOPPED = Built(Report(Outcome.CANCELLED, None, None, 1.0, 1.0, 1, stderr=b"so far"))


class Fake:
    """Builds for `seconds`, then answers `end`."""

    def __init__(self, end=OK, seconds=0.05):
        self.end = end
        self.seconds = seconds
        self.orders = []
        self.stopped = 0
        self.most = self.now = 0

    async def __call__(self, order, stop):
        self.orders.append(order)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with asyncio.timeout(self.seconds):
                await stop.wait()
        except TimeoutError:
            if isinstance(self.end, Exception):
                raise self.end from None
            return self.end
        else:
            self.stopped += 1
            return STOPPED
        finally:
            self.now -= 1


def order(id_="e", **limits):
    return Order(id_, (), replace(LIMITS, **limits))


def builds(fake, jobs=2):
    return Builds(fake, jobs=jobs, wall_seconds=1800)


async def test_ten_that_ask_for_one_environment_are_one_build():
    fake = Fake()
    made = builds(fake)
    answers = await asyncio.gather(*(made.get(order()) for _ in range(10)))
    assert sorted(answer.how for answer in answers) == ["built"] + ["joined"] * 9
    assert {answer.built for answer in answers} == {OK}
    assert len(fake.orders) == 1


async def test_the_build_runs_under_the_servers_clock_and_the_requests_other_limits():
    fake = Fake()
    await builds(fake).get(order(wall_seconds=5.0, memory_bytes=7))
    assert fake.orders[0].limits == replace(LIMITS, wall_seconds=1800, memory_bytes=7)


async def test_who_asks_for_other_limits_builds_alone():
    fake = Fake()
    made = builds(fake)
    answers = await asyncio.gather(made.get(order()), made.get(order(memory_bytes=7)))
    assert [answer.how for answer in answers] == ["built", "built"]


async def test_a_failure_is_shared_by_those_who_joined_and_not_kept():
    fake = Fake(Built(Report(Outcome.NONZERO_EXIT, 1, None, 1.0, 1.0, 1)))
    made = builds(fake)
    answers = await asyncio.gather(made.get(order()), made.get(order()))
    assert [answer.built.report.outcome for answer in answers] == ["nonzero-exit"] * 2
    fake.end = OK
    assert (await made.get(order())).how == "built"
    assert len(fake.orders) == 2


async def test_one_waiters_deadline_leaves_the_build_to_the_others():
    fake = Fake(seconds=0.3)
    made = builds(fake)
    patient, hurried = await asyncio.gather(made.get(order()), made.get(order(wall_seconds=0.05)))
    assert patient.built is OK
    assert hurried.built.report.outcome is Outcome.WALL_TIME_LIMIT
    assert fake.stopped == 0


async def test_the_last_waiters_deadline_stops_the_build_and_keeps_its_words():
    fake = Fake(seconds=30)
    answer = await builds(fake).get(order(wall_seconds=0.05))
    assert answer.built.report.outcome is Outcome.WALL_TIME_LIMIT
    assert answer.built.report.stderr == b"so far"
    assert fake.stopped == 1


async def test_a_cancelled_waiter_leaves_the_build_to_the_others():
    fake = Fake(seconds=0.2)
    made = builds(fake)
    first = asyncio.create_task(made.get(order()))
    second = asyncio.create_task(made.get(order()))
    await asyncio.sleep(0.05)
    first.cancel()
    assert (await second).built is OK
    assert (second.result().how, fake.stopped) == ("joined", 0)


async def test_the_last_cancelled_waiter_stops_the_build():
    fake = Fake(seconds=30)
    made = builds(fake)
    waiter = asyncio.create_task(made.get(order()))
    await asyncio.sleep(0.05)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert (fake.stopped, fake.now) == (1, 0)


async def test_a_build_nobody_waits_for_any_more_gives_its_place_back_unbegun():
    fake = Fake(seconds=0.2)
    made = builds(fake, jobs=1)
    first = asyncio.create_task(made.get(order("a")))
    second = asyncio.create_task(made.get(order("b")))
    await asyncio.sleep(0.05)
    second.cancel()
    await first
    assert (await made.get(order("c"))).built is OK
    assert [order.environment_id for order in fake.orders] == ["a", "c"]


async def test_no_more_builds_at_once_than_slots_and_waiting_is_not_on_the_clock():
    fake = Fake(seconds=0.1)
    made = builds(fake, jobs=2)
    answers = await asyncio.gather(*(made.get(order(str(n), wall_seconds=0.25)) for n in range(6)))
    assert fake.most == 2
    assert {answer.built for answer in answers} == {OK}
    assert answers[5].queued_seconds > 0.1


async def test_our_own_fault_is_everyones_error_and_no_result():
    fake = Fake(DaemonFailed("j", "words"))
    made = builds(fake)
    answers = await asyncio.gather(made.get(order()), made.get(order()), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DaemonFailed] * 2
    fake.end = OK
    with pytest.raises(DaemonFailed, match="words"):
        raise answers[0]
    assert (await made.get(order())).built is OK


async def test_closing_ends_every_build():
    fake = Fake(seconds=30)
    made = builds(fake)
    waiter = asyncio.create_task(made.get(order()))
    await asyncio.sleep(0.05)
    await made.close()
    assert fake.now == 0
    await asyncio.gather(waiter, return_exceptions=True)


async def test_what_another_builder_builds_meanwhile_is_joined():
    found = []

    @asynccontextmanager
    async def lease(_id, waiting):
        waiting("builds")
        await asyncio.sleep(0.05)
        found.append(RECORD)
        yield

    async def never(order, stop):
        raise AssertionError("it is there")

    builds = Builds(
        never, jobs=1, wall_seconds=9, lease=lease, find=lambda _id: found[0] if found else None
    )
    answers = await asyncio.gather(builds.get(order()), builds.get(order()))
    assert [answer.how for answer in answers] == ["joined", "joined"]
    assert answers[0].built.record is RECORD
    assert answers[0].queued_seconds >= 0.05


async def test_one_that_waits_for_another_builder_has_its_own_deadline():
    @asynccontextmanager
    async def lease(_id, waiting):
        waiting("builds")
        await asyncio.sleep(60)
        yield

    async def never(order, stop):
        raise AssertionError("another does")

    builds = Builds(never, jobs=1, wall_seconds=9, lease=lease)
    answer = await asyncio.wait_for(builds.get(order(wall_seconds=0.1)), 5)
    assert answer.built.report.outcome is Outcome.WALL_TIME_LIMIT
    await builds.close()


async def test_who_waits_for_a_build_that_waits_for_a_slot_has_no_clock_running(tmp_path):
    (tmp_path / "var/nix").mkdir(parents=True)
    shared = Shared(tmp_path)
    shared.make()
    fake = Fake(seconds=60)
    builds = Builds(
        fake, jobs=1, wall_seconds=1800, lease=shared.lease, building=shared.building
    )  # fmt: skip
    other = asyncio.create_task(builds.get(order("other")))
    ahead = asyncio.create_task(builds.get(order("e")))
    await asyncio.sleep(0.1)
    waiter = asyncio.create_task(builds.get(order("e", memory_bytes=7, wall_seconds=0.2)))
    await asyncio.sleep(0.6)
    assert not waiter.done()
    other.cancel()  # now the one ahead begins, and with it the waiter's clock
    answer = await asyncio.wait_for(waiter, 10)
    assert answer.built.report.outcome is Outcome.WALL_TIME_LIMIT
    assert [order.environment_id for order in fake.orders] == ["other", "e"]
    await builds.close()
    await asyncio.gather(other, ahead, return_exceptions=True)


async def test_the_clock_stops_where_another_builds_in_vain_and_ours_waits_for_a_slot(tmp_path):
    (tmp_path / "var/nix").mkdir(parents=True)
    shared = Shared(tmp_path)
    shared.make()
    beside = Shared(tmp_path)  # another builder's, which will fail
    fake = Fake(seconds=60)
    builds = Builds(
        fake, jobs=1, wall_seconds=1800, lease=shared.lease, building=shared.building
    )  # fmt: skip
    other = asyncio.create_task(builds.get(order("other")))
    async with beside.lease("e", lambda _: None), beside.building("e"):
        waiter = asyncio.create_task(builds.get(order("e", wall_seconds=2)))
        await asyncio.sleep(0.2)
    await asyncio.sleep(2.5)
    assert not waiter.done()
    fake.seconds = 0.05
    other.cancel()
    answer = await asyncio.wait_for(waiter, 10)
    assert (answer.how, answer.built) == ("built", OK)
    assert answer.queued_seconds > 1
    await builds.close()
    await asyncio.gather(other, return_exceptions=True)


@pytest.fixture
def ledger(tmp_path):
    """For one usual build, and not for two."""
    (tmp_path / "var").mkdir()
    ledger = Ledger(tmp_path, 3 * GIB)
    ledger.make()
    return ledger


async def test_builds_wait_for_memory_though_there_are_slots(ledger):
    fake = Fake()
    builds = Builds(fake, jobs=4, wall_seconds=60, memory=ledger.reserved)
    answers = await asyncio.gather(*(builds.get(order(str(n))) for n in range(4)))
    assert [answer.how for answer in answers] == ["built"] * 4
    assert fake.most == 1
    fake.most = 0
    small = (builds.get(order(str(n), memory_bytes=GIB)) for n in range(3))
    await asyncio.gather(*small)
    assert fake.most > 1


async def test_waiting_for_memory_uses_up_nobodys_clock_and_can_be_given_up(ledger):
    fake = Fake()
    builds = Builds(fake, jobs=4, wall_seconds=60, memory=ledger.reserved)
    async with ledger.reserved(2 * GIB):
        waiting = asyncio.create_task(builds.get(order("a", wall_seconds=0.2)))
        given_up = asyncio.create_task(builds.get(order("b", wall_seconds=0.2)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        given_up.cancel()
    answer = await asyncio.wait_for(waiting, 20)
    assert answer.built == OK
    assert [one.environment_id for one in fake.orders] == ["a"]
