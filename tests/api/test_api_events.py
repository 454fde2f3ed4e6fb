"""Server-Sent Events over a real socket: live, resumed, across a restart of the NATS server."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup
from tests.api.api_harness import running
from tests.api.api_stories import finish
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
    events, _ = await asyncio.wait_for(following, 3)
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
    await asyncio.sleep(0.8)
    assert not api.services.live._listeners
    assert api.services.metrics.streams == 0


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
