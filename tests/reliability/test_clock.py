"""Clocks that are wrong, or jump by an hour: nobody is lost, nothing runs twice, order is kept."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest

from sandstream import stack as stacks
from sandstream.builders import instance
from sandstream.client import Client
from streams.connection import connect
from streams.log import EventLog
from tests.e2e.conftest import system
from tests.reliability import findings
from tests.reliability.load import body, fresh
from tests.reliability.strikes import docker

pytestmark = pytest.mark.integration
HOUR = 3600


@pytest.fixture
def clocks(monkeypatch, tmp_path):
    """Every service has a clock of its own: the seconds by which it is wrong, in a file."""
    usual = stacks.program

    def wrong(name, *rest):
        file = tmp_path / name
        file.write_text("0")
        made = usual(name, *rest)
        argv = (sys.executable, "-m", "tests.reliability.shifted", str(file), name)
        return replace(made, argv=argv)

    monkeypatch.setattr(stacks, "program", wrong)

    def jump(**seconds: int) -> None:
        for name, by in seconds.items():
            (tmp_path / name).write_text(str(by))

    return jump


async def test_clocks_that_jump_an_hour_lose_nothing_and_repeat_nothing(
    make_state, stormy, clocks, monkeypatch
):
    monkeypatch.setenv("SANDSTREAM_BUILD_DEADLINE_SECONDS", "8")
    state, said = make_state(), []
    async with system(state, said) as running, Client(running.url) as client:
        ids = []
        # What runs, longer than a lease, while the clocks of all jump there and back.
        for jump in ({"worker": HOUR, "api": -HOUR}, {"worker": -HOUR, "api": HOUR}):
            ids.append(await client.submit(body("sleep 3; cat")))
            await asyncio.sleep(0.7)
            clocks(**jump)
            ids.append(await client.submit(body("cat")))
            await asyncio.sleep(0.7)
        ids.append(await client.submit(fresh()))
        ends = [await client.end_of(id_, within=60) for id_ in ids]
        # The event comes from two hours ahead, and no builder answers: the deadline holds.
        builder = f"{instance(state)}-builder"
        assert await docker("pause", builder)
        late = await client.submit(fresh())
        found = await client.end_of(late, within=60)
        assert await docker("unpause", builder)
        names = [moment["event"] for moment in found["timeline"]]
        assert names == ["submitted", "deps-queued", "started", "deps-built", "ran", "finished"]
        wrong = [end for end in (*ends, found) if end["verdict"] != "accepted"]
        assert wrong == []
        assert [end["attempts"] for end in ends] == [1] * len(ids)
        times = [moment["at"] for moment in found["timeline"]]
        sequences = [moment["sequence"] for moment in found["timeline"]]
        assert times != sorted(times)
        assert sequences == sorted(sequences)
        async with connect(running.log.settings("auditor"), name="findings") as auditor:
            log = EventLog(auditor)
            stories = await findings.all_ended(log, 30)
            assert findings.of_stories(stories, []) == []
            assert await findings.of_read_model(auditor, log) == []
    assert said == []
