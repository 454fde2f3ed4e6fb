"""What was acknowledged is on the disk: under kill -9, and when the power is cut at that moment."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from streams.errors import Conflict, LogUnavailable
from streams.log import EventLog
from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup
from tests.conftest import Nats
from tests.integration.test_log import submitted
from tests.reliability import disk

pytestmark = pytest.mark.integration


@asynccontextmanager
async def logged(config: ServerConfig):
    """A server on this configuration with our streams, and its log."""
    async with server(config) as (process, url):
        nats = Nats(url, config.passwords, process)
        async with nats.connect("admin") as admin:
            await setup(admin, LogSettings())
        async with nats.connect("api") as client:
            yield nats, EventLog(client)


async def stored(config: ServerConfig) -> set[str]:
    async with logged(config) as (_, log):
        return {event.submission_id async for event in log.read()}


def configured(folder, **settings) -> ServerConfig:
    secrets = passwords(folder.parent / "secrets.json")
    return ServerConfig(folder, secrets, port=-1, **settings)


async def test_every_acknowledged_event_survives_kill_9_under_load(tmp_path):
    config = configured(tmp_path / "nats")
    acknowledged: set[str] = set()
    async with logged(config) as (nats, _):
        config = replace(config, port=urlsplit(nats.url).port)
    up = asyncio.Event()

    async def live_and_die() -> None:
        for _ in range(6):
            async with server(config) as (process, _):
                up.set()
                enough = len(acknowledged) + 200
                while len(acknowledged) < enough:
                    await asyncio.sleep(0.01)
                process.kill()
                await process.wait()

    async def write(log: EventLog) -> None:
        while not dying.done():
            id_ = uuid4().hex
            with suppress(LogUnavailable, Conflict):
                await log.append(submitted(id_, cache=False), after=0)
                acknowledged.add(id_)

    dying = asyncio.create_task(live_and_die())
    await up.wait()
    # One connection over all lives of the server, as a service has it.
    async with nats.connect("api") as client:
        writers = [asyncio.create_task(write(EventLog(client, timeout=1))) for _ in range(8)]
        await asyncio.wait_for(dying, 90)
        await asyncio.gather(*writers)
    assert acknowledged - await stored(config) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="a loop device needs root")
@pytest.mark.parametrize(("sync", "lost"), [("always", False), ("2m", True)])
async def test_power_cut_at_the_moment_of_the_ack_loses_nothing(tmp_path, sync, lost):
    """`2m`, the server's own default, is the proof that this disk does lose what is not synced."""
    image = disk.new(tmp_path / "disk", 64)
    cut = []
    with disk.mounted(image, tmp_path / "mounted") as folder:
        config = configured(folder / "nats", sync=sync)
        async with logged(config) as (_, log):
            acknowledged = []
            for number in range(30):
                id_ = uuid4().hex
                await log.append(submitted(id_, cache=False), after=0)
                acknowledged.append(id_)
                if number % 10 == 9:
                    copy = disk.power_cut(image, tmp_path / f"cut-{number}")
                    cut.append((copy, list(acknowledged)))
    missing = []
    for copy, were in cut:
        with disk.mounted(copy, tmp_path / "after") as folder:
            found = await stored(configured(folder / "nats"))
            missing += [id_ for id_ in were if id_ not in found]
        copy.unlink()
    shutil.rmtree(tmp_path / "disk", ignore_errors=True)
    assert bool(missing) == lost
