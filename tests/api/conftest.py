"""The running API as a fixture, and a projector beside it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest_asyncio

from projector.service import serve
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import woken
from tests.api.api_harness import running


@pytest_asyncio.fixture
async def api(nats):
    async with running(nats, heartbeat_seconds=0.5) as one:
        yield one


@pytest_asyncio.fixture
async def projector(nats):
    async with nats.connect("projector") as client, woken(client) as wake:
        task = asyncio.create_task(serve(EventLog(client), ReadModel(client), wake))
        yield
        # again and again: nats-py can lose a cancellation that comes with a message (Python 3.11)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
        with suppress(asyncio.CancelledError):
            await task
