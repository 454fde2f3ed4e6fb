"""A disk that is slow, and a machine without memory: refused in words or waited out, never lost."""

from __future__ import annotations

import asyncio
import os
import time

import httpx
import pytest

from sandstream.client import ApiError, Client, UnreachableError
from tests.e2e.conftest import system
from tests.reliability import disk
from tests.reliability.load import body
from tests.reliability.squeeze import memory, slow_disk
from tests.reliability.test_full import nothing_wrong

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a loop device, a cgroup"),
]
MIB = 1024 * 1024


def of_the_log(state) -> int:
    return int((state.running / "nats").read_text().split()[0])


async def accepted(client: Client, sending: dict, refusals: list[Exception]) -> str:
    """Sent until it is taken, with one key, as a client should."""
    key = os.urandom(8).hex()
    async with asyncio.timeout(90):
        while True:
            try:
                return await client.submit(sending, key=key)
            except (ApiError, UnreachableError, httpx.HTTPError) as refusal:
                refusals.append(refusal)
            await asyncio.sleep(0.2)


async def test_slow_disk_is_waited_out_or_refused_with_503_and_nothing_is_lost(
    make_state, stormy, tmp_path
):
    state, said, refusals = make_state(), [], []
    with disk.mounted(disk.new(tmp_path / "disk", 128), state.nats) as folder:
        async with system(state, said) as running, Client(running.url, timeout=60) as client:
            at = folder.stat().st_dev
            device = f"{os.major(at)}:{os.minor(at)}"
            quick = [await client.submit(body("sleep 1; cat")) for _ in range(3)]
            with slow_disk([of_the_log(state)], device, writes_per_second=30):
                began = time.monotonic()
                slow = await asyncio.gather(
                    *(accepted(client, body("cat"), refusals) for _ in range(8))
                )
                took = time.monotonic() - began
            found = [await client.end_of(id_, within=90) for id_ in (*quick, *slow)]
            assert [one["verdict"] for one in found] == ["accepted"] * len(found)
            assert await nothing_wrong(running) == []
    assert took > 1, "the disk was not slow"
    assert {r.status for r in refusals if isinstance(r, ApiError)} <= {503}
    assert said == []


async def test_services_killed_for_want_of_memory_come_back_and_nothing_is_lost(make_state, stormy):
    state, said, refusals = make_state(), [], []
    async with system(state, said) as running, Client(running.url, timeout=60) as client:
        # They are started again outside: the next life has all memory of the machine.
        pids = [child.pid for child in running.children.values()] + [of_the_log(state)]
        running_on = [await client.submit(body("sleep 3; cat")) for _ in range(3)]
        large = body("cat")
        large["files"] += [{"name": f"large-{n}", "content": "x" * (1 * MIB)} for n in range(16)]
        with memory(pids) as squeezed:
            # What they have had before counts elsewhere.
            squeezed.limit(32 * MIB)
            sent = await asyncio.gather(*(accepted(client, large, refusals) for _ in range(3)))
            kills = squeezed.kills
        found = [await client.end_of(id_, within=90) for id_ in (*running_on, *sent)]
        assert [one["verdict"] for one in found] == ["accepted"] * len(found)
        assert await nothing_wrong(running) == []
    assert kills > 0, "there was memory enough"
    assert any("signal 9" in words for words in said), said
