"""Whoever listens hears its own, and many who hear nothing do not read the log all at once."""

from __future__ import annotations

from types import SimpleNamespace

from streams import events
from streams.live import Live


async def test_a_listener_hears_its_own_submission_until_it_leaves():
    hub = Live()
    said = events.CancelRequested(submission_id="a", by="test")
    message = SimpleNamespace(
        subject=f"live.{events.subject(said)}",
        data=events.encode(said),
        headers={"Nats-Sequence": "7"},
    )
    with hub.listen("a") as heard, hub.listen("b") as other:
        await hub.hand_out(message)
        assert heard.get_nowait().sequence == 7
        assert other.empty()
        hub.missed()
        assert (heard.get_nowait(), other.get_nowait()) == (None, None)
    assert hub.listening == 0
    await hub.hand_out(message)
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
