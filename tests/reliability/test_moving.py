"""The whole stack, first on its own lone log, then on a cluster that holds a copy of it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time

import pytest

from sandstream.client import Client
from streams.audit import Replay, held_against
from streams.connection import connect
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import read_all
from tests.e2e.conftest import ROOT, system
from tests.reliability import findings
from tests.reliability.cluster import NAMES, SIZE, cluster
from tests.reliability.load import Load, body

pytestmark = pytest.mark.integration
#: The long form, for a person: after what every run does, so long of anything.
STORM_SECONDS = float(os.environ.get("SANDSTREAM_TEST_CLUSTER_SECONDS", "0"))
LARGE = body("head -c 200000 /dev/urandom | base64", cases=[{}])


def copied(state, urls: str) -> subprocess.CompletedProcess:
    """The command, as an operator types it."""
    env = os.environ | {"SANDSTREAM_STATE": str(state.folder), "SANDSTREAM_REPLICAS": str(SIZE)}
    argv = [sys.executable, "-m", "sandstream", "copy", "--to", urls]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


async def lone_life(state) -> dict[str, dict]:
    """Submissions of several kinds on the log of one server, as they were answered."""
    async with system(state, []) as running, Client(running.url) as client:
        sent = [LARGE, body("cat"), body("cat", cache=False), body("cat", compile_="exit 3")]
        found = await asyncio.gather(*(client.run(one, within=60) for one in sent))
        cancelled = await client.submit(body("sleep 50", limits={"run": {"wall_seconds": 60}}))
        await client.cancel(cancelled)
        found.append(await client.end_of(cancelled, within=60))
    return {one["id"]: one for one in found}


async def agrees(running) -> int:
    """As `python -m streams replay` finds it; how many events there are."""
    async with connect(running.log.settings("auditor"), name="audit") as client:
        log, generation = EventLog(client), await ReadModel(client).live()
        checkpoint = await generation.checkpoint()
        replay = Replay()
        async for item in read_all(log):
            replay.add(item)
        verdict = await held_against(generation, replay.states.values(), checkpoint)
        assert verdict.differ == []
        return replay.events


async def copies(running) -> set[int]:
    """How many there are of each stream."""
    async with connect(running.log.settings("admin"), name="copies") as client:
        return {info.config.num_replicas for info in await client.jetstream().streams_info()}


async def more(load: Load, count: int, seconds: float = 90) -> None:
    """Until some more have been sent and have ended, after whatever happened."""
    async with asyncio.timeout(seconds):
        known = {one.id for one in load.sent}
        while sum(one.told == one.expected for one in load.sent if one.id not in known) < count:
            await asyncio.sleep(0.1)


async def storm(servers, seconds: float, chance: random.Random) -> None:
    """Any server killed, stopped or cut off for a while, one after the other."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        name, how = chance.choice(NAMES), chance.choice(("kill", "stop", "cut_off"))
        await getattr(servers, how)(name)
        await asyncio.sleep(12 * chance.random())
        await (servers.join_again if how == "cut_off" else servers.start)(name)
        await servers.in_step()


@pytest.mark.timeout(600 + 2 * STORM_SECONDS)
async def test_lone_log_moves_into_a_cluster_and_the_stack_goes_on_whoever_fails(
    make_state, stormy, tmp_path, monkeypatch
):
    state = make_state()
    before = await lone_life(state)
    async with cluster(tmp_path, state.secrets, made=False) as servers:
        command = await asyncio.to_thread(copied, state, servers.urls)
        assert command.returncode == 0, command.stdout + command.stderr
        monkeypatch.setenv("SANDSTREAM_CLUSTER", servers.urls)
        said: list[str] = []
        async with system(state, said) as running:
            assert running.log.url == servers.urls
            async with Client(running.url) as client:
                assert {id_: await client.get(id_) for id_ in before} == before
                events = await agrees(running)
                new = await client.submit(body("cat"))
                assert (await client.history(new))[0]["sequence"] == events + 1
                assert (await client.end_of(new, within=60))["verdict"] == "accepted"
            load = Load(running.url, random.Random(7))
            loading = asyncio.create_task(load.run())
            try:
                await more(load, 3)
                leader = await servers.leader()
                await servers.kill(leader)
                await more(load, 3)
                await servers.start(leader)
                await servers.in_step()
                leader = await servers.leader()
                await servers.cut_off(leader)
                await more(load, 3)
                await servers.join_again(leader)
                await servers.in_step()
                await storm(servers, STORM_SECONDS, load.random)
                await more(load, 3)
            finally:
                load.stop.set()
                await loading
            async with connect(running.log.settings("auditor"), name="findings") as client:
                log = EventLog(client)
                stories = await findings.all_ended(log, 60)
                wrong = findings.of_stories(stories, load.sent)
                wrong += findings.of_answers(stories, load.sent)
                wrong += await findings.of_read_model(client, log)
            assert wrong == []
            assert set(before) <= set(stories)
            # Nobody said so again when the stack came up on it.
            assert await copies(running) == {SIZE}
        assert said == []
