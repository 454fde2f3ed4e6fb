"""Whoever listens hears its own, and many who hear nothing do not read the log all at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streams import events
from streams.environments import ATTACK
from streams.live import Follower, Heard, Live

GUARD = "submissions.a.>"


def message(sequence, headers=None, data=None):
    """As the server republishes it."""
    said = events.CancelRequested(submission_id="a", by="test")
    return SimpleNamespace(
        subject=f"live.{events.subject(said)}",
        data=events.encode(said) if data is None else data,
        headers={"Nats-Sequence": str(sequence)} | (headers or {}),
    )


def guarded(before, of=GUARD):
    return {
        "Nats-Expected-Last-Subject-Sequence": str(before),
        "Nats-Expected-Last-Subject-Sequence-Subject": of,
    }


async def test_a_listener_hears_its_own_submission_until_it_leaves():
    hub = Live()
    said = message(7)
    with hub.listen("a") as heard, hub.listen("b") as other:
        await hub.hand_out(said)
        assert heard.get_nowait().sequence == 7
        assert other.empty()
        hub.missed()
        assert (heard.get_nowait(), other.get_nowait()) == (None, None)
    assert hub.listening == 0
    await hub.hand_out(said)
    assert heard.empty()


def test_the_more_listen_the_longer_each_waits_before_it_reads():
    hub = Live()
    assert hub.pause_seconds(5.0) == 5.0
    listening = [hub.listen(str(number)) for number in range(5000)]
    for one in listening:
        one.__enter__()
    assert hub.pause_seconds(5.0) == 100.0
    for one in listening:
        one.__exit__(None, None, None)
    assert hub.pause_seconds(5.0) == 5.0


async def next_of(follower):
    return await asyncio.wait_for(follower.next(), 5)


@pytest.mark.parametrize(
    ("headers", "before"),
    [
        (guarded(11), 11),
        (guarded(0), 0),
        (guarded(11, "submissions.b.>"), None),  # no guard of this story
        ({"Nats-Last-Sequence": "11"}, None),  # of its literal subject
        ({}, None),
    ],
)
async def test_a_live_event_says_what_came_before_it_where_its_guard_does(headers, before):
    hub = Live()
    with hub.follow("a") as follower:
        await hub.hand_out(message(12, headers))
        heard = await next_of(follower)
    assert (heard.event.sequence, heard.before) == (12, before)
    assert heard.follows(11) is (before == 11)
    assert not heard.follows(0)  # a batch's second event carries 0 as its first does
    assert not hub._followers
    assert hub.listening == 0


async def test_more_than_one_event_at_once_and_a_gap_say_read_the_log():
    hub = Live()
    with hub.follow("a") as follower, hub.follow("b") as other:
        for sequence in range(12, 10_012):
            await hub.hand_out(message(sequence, guarded(sequence - 1)))
        assert follower._held is None  # whoever reads nothing holds nothing
        assert await next_of(follower) is None
        await hub.hand_out(message(10_012, guarded(10_011)))
        assert (await next_of(follower)).event.sequence == 10_012
        hub.missed()
        assert await next_of(follower) is None
        assert await next_of(other) is None
        await hub.hand_out(message(10_013, guarded(10_012)))
        hub.missed()
        assert await next_of(follower) is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.next(), 0.05)


async def test_a_live_message_that_is_no_event_has_the_log_read():
    hub = Live()
    with hub.follow("a") as follower:
        await hub.hand_out(message(12, guarded(11), b"{"))
        assert await next_of(follower) is None


async def test_a_wait_that_was_given_up_loses_nothing():
    follower = Follower()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(follower.next(), 0.01)
    said = events.CancelRequested(submission_id="a", by="test", sequence=3)
    follower.put(Heard(said, 2))
    assert (await next_of(follower)).event == said


@pytest.mark.parametrize(
    ("result", "counted"),
    [
        ({"message": f"{ATTACK}the build of environment e"}, 1),
        ({"message": "the limit"}, 0),
        # whoever prints the words is no attacker
        ({"stderr": {"data": f'{{"message":"{ATTACK}x"}}', "size": 1}}, 0),
    ],
)
async def test_builds_that_were_refused_as_attacks_are_counted(result, counted):
    hub = Live()
    said = events.DepsBuilt.model_validate(
        {"submission_id": "a", "by": "b", "how": "built", "result": {"outcome": "ok"} | result}
    )
    data = events.encode(said)
    subject = f"live.{events.subject(said)}"
    await hub.hand_out(SimpleNamespace(subject=subject, data=data, headers={}))
    assert hub.attacks == counted
