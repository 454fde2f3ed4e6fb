"""Server-Sent Events over a real socket: live, resumed, across a restart of the NATS server."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup
from tests.api.api_harness import running
from tests.api.api_stories import built, finish, tell, worker_events
from tests.conftest import Nats

pytestmark = pytest.mark.integration


async def follow(api, id_, *, headers=None, params=None, stop_after=None):
    """(id, name, data) of each event until the stream ends; the comments beside them."""
    events, comments, current = [], [], {}
    path = f"/submissions/{id_}/events"
    async with api.client.stream("GET", path, headers=headers, params=params) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                comments.append(line)
            elif line:
                field, _, value = line.partition(": ")
                current[field] = value
            elif "data" in current:
                events.append((int(current["id"]), current["event"], json.loads(current["data"])))
                current = {}
                if len(events) == stop_after:
                    break
    return events, comments


ALL = ["submitted", "deps-queued", "deps-built", "started", "ran", "finished"]


async def test_a_follower_hears_everything_live_and_the_stream_ends(api):
    id_ = await api.new()
    following = asyncio.create_task(follow(api, id_))
    await asyncio.sleep(0.3)
    await finish(api, id_)
    events, _ = await asyncio.wait_for(following, 15)
    assert [name for _, name, _ in events] == ALL
    for sequence, name, data in events:
        assert data["sequence"] == sequence
        assert data["event"] == name
    history = (await api.get(f"/submissions/{id_}/history")).json()
    assert [data for _, _, data in events] == history


@pytest.mark.parametrize("kept", range(6))
async def test_a_follower_who_comes_again_gets_the_rest_without_gap_or_double(api, kept):
    id_ = await api.new()
    await finish(api, id_)
    first, _ = await follow(api, id_)
    after = first[kept - 1][0] if kept else 0
    rest, _ = await follow(api, id_, headers={"Last-Event-ID": str(after)} if kept else None)
    assert rest == first[kept:]
    rest, _ = await follow(api, id_, params={"after": after})
    assert rest == first[kept:]


async def test_who_has_seen_the_end_gets_204_so_that_a_browser_stays_away(api):
    id_ = await api.new()
    last = await finish(api, id_)
    path = f"/submissions/{id_}/events"
    answer = await api.get(path, headers={"Last-Event-ID": str(last)})
    assert answer.status_code == 204
    answer = await api.get(path, headers={"Last-Event-ID": "x"})
    assert answer.status_code == 422


async def test_a_place_beyond_the_log_in_the_query_is_422_with_both_numbers(api):
    id_ = await api.new()
    answer = await api.get(f"/submissions/{id_}/events", params={"after": 10**9})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["field"] == "query/after"
    assert "is 1000000000, and the log ends at 2:" in fault["message"]


@pytest.mark.parametrize("ended", [False, True])
async def test_who_heard_more_than_the_log_holds_is_told_all_of_it(api, ended):
    """As a browser that comes again, when the log was restored from an older copy."""
    id_ = await api.new()
    if ended:
        await finish(api, id_)
    headers = {"Last-Event-ID": str(10**9)}
    following = asyncio.create_task(follow(api, id_, headers=headers))
    await asyncio.sleep(0.3)
    if not ended:
        await finish(api, id_)
    events, _ = await asyncio.wait_for(following, 15)
    assert [name for _, name, _ in events] == ALL


async def test_a_place_after_the_story_and_within_the_log_is_taken(api):
    id_ = await api.new()
    await api.new()
    following = asyncio.create_task(follow(api, id_, params={"after": 4}))
    await asyncio.sleep(0.3)
    await finish(api, id_)
    events, _ = await asyncio.wait_for(following, 15)
    assert [name for _, name, _ in events] == ALL[2:]


async def test_silence_is_filled_with_comments(api):
    id_ = await api.new()
    following = asyncio.create_task(follow(api, id_))
    await asyncio.sleep(3)  # six heartbeats; a busy machine may sleep through some
    await finish(api, id_)
    _, comments = await following
    assert len(comments) >= 2


async def test_a_follower_survives_a_restart_of_the_log(api):
    id_ = await api.new()
    following = asyncio.create_task(follow(api, id_))
    waiting = asyncio.create_task(api.get(f"/submissions/{id_}", params={"wait": 15}))
    await asyncio.sleep(0.3)
    for connection in (api.services.client,):
        connection._transport.close()
    await asyncio.sleep(0.05)
    await finish(api, id_)
    events, _ = await asyncio.wait_for(following, 8)
    assert [name for _, name, _ in events] == ALL
    assert (await asyncio.wait_for(waiting, 8)).json()["status"] == "finished"


def lose(api, is_lost):
    """Live messages that never arrive: a reconnection, a route between servers, a slow reader."""
    for subscription in api.services.client._subs.values():
        if subscription.subject.startswith("live."):
            subscription._cb = losing(subscription._cb, is_lost)


def losing(callback, is_lost):
    async def hear(message):
        if not is_lost(message.subject):
            await callback(message)

    return hear


@pytest.mark.parametrize("lost", ["deps-built", "started", "ran"])
async def test_an_event_whose_live_message_is_lost_comes_before_the_next(nats, lost):
    """And at once: neither silence nor a reconnection has to tell of it."""
    async with running(nats, heartbeat_seconds=60) as api:
        id_ = await api.new()
        lose(api, lambda subject: f".{lost}" in subject)
        following = asyncio.create_task(follow(api, id_))
        await asyncio.sleep(0.3)
        await finish(api, id_)
        events, _ = await asyncio.wait_for(following, 15)
        assert [name for _, name, _ in events] == ALL


async def test_what_was_said_while_the_connection_was_gone_comes_before_what_is_heard_next(nats):
    async with running(nats, heartbeat_seconds=60) as api:
        id_ = await api.new()
        following = asyncio.create_task(follow(api, id_))
        await asyncio.sleep(0.3)
        last = (await api.log.state(id_)).sequence
        own, seen = api.services.client, api.services.client.stats["reconnects"]
        async with api.says("builder") as builder, api.says("worker") as worker:
            own._transport.close()
            last = await tell(builder, [built(id_)], last)
            async with asyncio.timeout(10):
                while own.stats["reconnects"] == seen or not own.is_connected:
                    await asyncio.sleep(0.001)
            await tell(worker, worker_events(id_), last)
        events, _ = await asyncio.wait_for(following, 15)
        assert [name for _, name, _ in events] == ALL


async def test_events_that_follow_each_other_are_sent_without_reading_the_log(api, monkeypatch):
    id_ = await api.new()
    reads, fresh = [], api.log.fresh

    async def counted(guard, *args, **kwargs):
        reads.append(guard)
        return await fresh(guard, *args, **kwargs)

    async with running(api.nats, heartbeat_seconds=60) as other:
        monkeypatch.setattr(other.log, "fresh", counted)
        heard = []

        async def hear():
            path = f"/submissions/{id_}/events"
            async with other.client.stream("GET", path) as answer:
                async for line in answer.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        heard.append(value)

        following = asyncio.create_task(hear())
        async with asyncio.timeout(20):
            while len(heard) < 2:
                await asyncio.sleep(0.01)
            before, last = len(reads), (await api.log.state(id_)).sequence
            async with api.says("builder") as builder, api.says("worker") as worker:
                for event in [built(id_), *worker_events(id_)]:
                    by = builder if event.event == "deps-built" else worker
                    last = await by.append(event, after=last)
                    while heard[-1] != event.event:
                        await asyncio.sleep(0.01)
        await following
        assert heard == ALL
        assert len(reads) == before


async def test_many_followers_hear_the_same(api):
    id_ = await api.new()
    following = [asyncio.create_task(follow(api, id_)) for _ in range(20)]
    await asyncio.sleep(0.3)
    await finish(api, id_)
    heard = [events for events, _ in await asyncio.gather(*following)]
    assert all([name for _, name, _ in events] == ALL for events in heard)
    metrics = (await api.get("/metrics")).text
    assert "sandstream_event_streams 0" in metrics


async def test_a_follower_who_goes_leaves_nothing_behind(api):
    id_ = await api.new()
    await follow(api, id_, stop_after=2)
    async with asyncio.timeout(20):
        while api.services.live._followers or api.services.metrics.streams:
            await asyncio.sleep(0.05)


async def test_followers_and_who_waits_outlive_a_killed_server(tmp_path):
    """kill -9, 6 s of nothing, the same server again on the same port: nothing is lost."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secrets = passwords(tmp_path / "secrets.json")
    config = ServerConfig(tmp_path / "nats", secrets, port=port)
    async with server(config) as (process, url):
        nats = Nats(url, secrets, process)
        async with nats.connect("admin") as admin:
            await setup(admin, LogSettings())
        async with running(nats, heartbeat_seconds=0.5) as api:
            id_ = await api.new()
            following = asyncio.create_task(follow(api, id_))
            waiting = asyncio.create_task(api.get(f"/submissions/{id_}", params={"wait": 18}))
            posting = asyncio.create_task(api.post(params={"wait": 4}))
            await asyncio.sleep(0.5)
            process.kill()
            await process.wait()
            answer = await posting
            assert answer.status_code == 201
            assert answer.json()["status"] == "deps-queued"
            await asyncio.sleep(2)
            async with server(config):
                async with asyncio.timeout(10):
                    while (await api.get("/readyz")).status_code != 200:
                        await asyncio.sleep(0.1)
                await finish(api, id_)
                events, _ = await asyncio.wait_for(following, 8)
                assert [name for _, name, _ in events] == ALL
                assert (await asyncio.wait_for(waiting, 8)).json()["status"] == "finished"
                assert (await api.post()).status_code == 201
