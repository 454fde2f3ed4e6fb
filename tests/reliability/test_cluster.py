"""Three servers, three replicas: any one may go or be cut off, and what was acknowledged stays."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from streams.errors import Conflict, LogUnavailable
from streams.events import Finished, Started
from streams.log import EventLog
from tests.integration.test_log import submitted
from tests.reliability.cluster import NAMES, cluster

pytestmark = pytest.mark.integration


@asynccontextmanager
async def writing(servers, writers: int = 6):
    """Whole stories, each event guarded by what was read back before; yields the finished ids."""
    finished: list[str] = []
    over = asyncio.Event()

    async def story(api: EventLog, worker: EventLog) -> None:
        while not over.is_set():
            id_ = uuid4().hex
            whose = {"submission_id": id_, "by": "w", "attempt": 1}
            for log, event in (
                (api, submitted(id_, cache=False)),
                (worker, Started(container="c", **whose)),
                (worker, Finished(verdict="ok", **whose)),
            ):
                await surely(log, event)
            finished.append(id_)

    async with servers.connect("api") as one, servers.connect("worker") as other:
        logs = EventLog(one, timeout=2), EventLog(other, timeout=2)
        tasks = [asyncio.create_task(story(*logs)) for _ in range(writers)]
        try:
            yield finished
        finally:
            over.set()
            await asyncio.gather(*tasks)


async def surely(log: EventLog, event) -> None:
    """Read, decide, append: until it is there, as every writer of ours does it."""
    while True:
        try:
            state = await log.state(event.submission_id)
            if any(moment.event == event.event for moment in state.timeline):
                return
            await log.append(event, after=state.sequence)
        except (Conflict, LogUnavailable):
            await asyncio.sleep(0.05)
        else:
            return


async def more(finished: list[str], count: int = 40, seconds: float = 60) -> None:
    """Until the stories go on."""
    enough = len(finished) + count
    async with asyncio.timeout(seconds):
        while len(finished) < enough:
            await asyncio.sleep(0.05)


async def whole(servers, finished: list[str]) -> None:
    """Every finished story is there, each event once and in order."""
    async with servers.connect("auditor") as client:
        log = EventLog(client)
        for id_ in finished:
            names = [event.event for event in await log.history(id_)]
            assert names == ["submitted", "started", "finished"]


async def test_killed_leader_cut_off_server_and_rolling_restart_lose_nothing(prepared, tmp_path):
    async with cluster(tmp_path, tmp_path / "secrets.json") as servers:
        async with writing(servers) as finished:
            await more(finished)
            leader = await servers.leader()
            await servers.kill(leader)
            await more(finished)
            await servers.start(leader)
            await servers.in_step()
            leader = await servers.leader()
            await servers.cut_off(leader)
            assert await servers.leader(other_than=leader) != leader
            await more(finished)
            await servers.join_again(leader)
            await servers.in_step()
            for name in NAMES:
                await servers.stop(name)
                await more(finished)
                await servers.start(name)
                await servers.in_step()
        await whole(servers, finished)
