"""No room for events: new work is refused in words, what runs ends once there is room again."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import httpx
import pytest

from sandstream.client import ApiError, Client, UnreachableError
from streams.connection import connect
from streams.log import EventLog
from streams.setup import LogSettings, setup
from tests.e2e.conftest import system
from tests.reliability import disk, findings
from tests.reliability.load import body

pytestmark = pytest.mark.integration


async def sent_until_refused(client: Client) -> tuple[list[str], ApiError]:
    """The ids of what was taken, and the first refusal."""
    padding = "#" * 30_000
    ids = []
    while len(ids) < 200:
        try:
            ids.append(await client.submit(body(f"sleep 0.5; cat\n{padding}")))
        except ApiError as refusal:
            return ids, refusal
    raise AssertionError("it was never refused")


async def nothing_wrong(running) -> list[str]:
    async with connect(running.log.settings("auditor"), name="findings") as client:
        log = EventLog(client)
        stories = await findings.all_ended(log, 60)
        return findings.of_stories(stories, []) + await findings.of_read_model(client, log)


async def test_stream_at_its_limit_refuses_with_507_and_what_was_accepted_still_ends(
    make_state, stormy, monkeypatch
):
    """Without anybody who makes room: the rest of the log is for what was accepted."""
    monkeypatch.setenv("SANDSTREAM_LOG_MAX_BYTES", str(1_500_000))
    async with system(make_state(), []) as running, Client(running.url) as client:
        ids, refusal = await sent_until_refused(client)
        assert refusal.status == 507
        assert "full" in str(refusal)
        found = [await client.end_of(id_, within=60) for id_ in ids]
        assert [one["verdict"] for one in found] == ["accepted"] * len(ids)
        async with connect(running.log.settings("admin"), name="admin") as admin:
            await setup(admin, LogSettings(lease_seconds=2, log_max_bytes=50_000_000))
        assert await _taken(client)
        assert await nothing_wrong(running) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a loop device needs root")
async def test_full_disk_refuses_with_503_and_goes_on_when_there_is_room(
    make_state, stormy, tmp_path
):
    state = make_state()
    said: list[str] = []
    with disk.mounted(disk.new(tmp_path / "disk", 128), state.nats) as folder:
        async with system(state, said) as running, Client(running.url, timeout=60) as client:
            ids = [await client.submit(body("sleep 2; cat")) for _ in range(3)]
            filling = folder / "filling"
            _fill(filling)
            refused = await _refusal(client)
            assert refused.status in {503, 507}
            filling.unlink()
            found = [await client.end_of(id_, within=90) for id_ in ids]
            assert [one["verdict"] for one in found] == ["accepted"] * 3
            assert await _taken(client)
            assert await nothing_wrong(running) == []
    assert {words.split()[0] for words in said} <= {"nats"}


def _fill(file) -> None:
    for size in (1 << 16, 1 << 9, 1):
        with suppress(OSError), file.open("ab", buffering=0) as out:
            while True:
                out.write(b"x" * size)


async def _refusal(client: Client) -> ApiError:
    for _ in range(200):
        try:
            await client.submit(body("cat"))
        except ApiError as refusal:
            return refusal
    raise AssertionError("it was never refused")


async def _taken(client: Client) -> str:
    async with asyncio.timeout(60):
        while True:
            with suppress(ApiError, UnreachableError, httpx.HTTPError):
                return await client.submit(body("cat"))
            await asyncio.sleep(0.2)
