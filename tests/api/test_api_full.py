"""No room for bodies at the real API: 507 at once, and what nothing names makes room again."""

from __future__ import annotations

import time

import pytest

from api.schema import EXAMPLE
from streams.setup import LogSettings, setup
from tests.api.api_harness import running
from tests.projector.test_replay_command import run

pytestmark = pytest.mark.integration


def large(letter: str) -> dict:
    return EXAMPLE | {
        "files": [*EXAMPLE["files"], {"name": "large", "content": letter * 1_000_000}]
    }


async def test_object_store_without_room_is_507_at_once(nats):
    async with running(nats) as api, nats.connect("admin") as admin:
        assert (await api.post(large("a"))).status_code == 201
        settings = LogSettings(lease_seconds=2, blobs_max_bytes=1_500_000)
        await setup(admin, settings)
        began = time.monotonic()
        answer = await api.post(large("b"))
        assert time.monotonic() - began < 4  # not a time-out's length
        assert answer.status_code == 507
        assert "OBJ_blobs is full" in answer.json()["detail"]
        assert (await api.post(large("a"))).status_code == 201
        assert (await api.post()).status_code == 201


async def test_blobs_of_a_refused_submission_are_found_unused(nats):
    """They are stored before the event that names them, which the log has refused."""
    async with running(nats) as api, nats.connect("admin") as admin:
        await api.new()
        await setup(admin, LogSettings(lease_seconds=2, log_max_bytes=1000))
        assert (await api.post(large("c"))).status_code == 507
        await setup(admin, LogSettings(lease_seconds=2))
        code, out, err = await run(nats, "admin", "streams", "tidy")
        assert code == 0, err
        assert "0 removed, 1 found unused" in out
