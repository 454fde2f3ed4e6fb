"""A submission that no attempt survives is given up with every reason, and holds up no other."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import pytest

from sandstream import dead
from sandstream.client import ApiError, Client
from tests.e2e.conftest import system
from tests.killing import kill
from tests.reliability.load import body
from tests.reliability.strikes import container_pid

pytestmark = pytest.mark.integration


async def poisoned(client: Client, id_: str) -> None:
    """Whoever runs it, the container dies of it."""
    async for event in client.events(id_):
        if event.name == "started":
            pid = await container_pid(event.fields["container"])
            if pid is not None:  # else it has ended
                with suppress(ProcessLookupError):
                    kill(pid)


async def in_a_terminal(*words: str) -> str:
    """What the command line prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandstream", *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_poison_is_given_up_with_its_reasons_and_blocks_nothing(make_state, monkeypatch):
    monkeypatch.setenv("SANDSTREAM_WORKER_SLOTS", "2")
    async with system(make_state(), []) as running, Client(running.url) as client:
        poisons = [await client.submit(body("sleep 20; cat")) for _ in range(3)]
        killing = asyncio.gather(*(poisoned(client, id_) for id_ in poisons))
        others = await asyncio.gather(*(client.run(body("cat"), within=60) for _ in range(6)))
        await killing
        assert [found["verdict"] for found in others] == ["accepted"] * 6
        for id_ in poisons:
            found = await client.get(id_)
            assert (found["status"], found["attempts"]) == ("failed", 3)
            assert ["exit code 137" in reason for reason in found["failures"]] == [True] * 3

        listed = await _listed(client, len(poisons))
        assert sorted(found["id"] for found in listed) == sorted(poisons)
        said = await in_a_terminal("dead", "--url", running.url)
        assert said.count("attempt 3: ") == 3
        assert all(id_ in said for id_ in poisons)

        new = (await in_a_terminal("retry", poisons[0], "--url", running.url)).split()[-1]
        assert new not in poisons
        assert await client.retry(poisons[0]) == new
        first = (await client.history(new))[0]
        assert first["idempotency_key"] == f"retry-of-{poisons[0]}"
        await client.cancel(new)
        with pytest.raises(ApiError, match="only a failed one"):
            await client.retry(others[0]["id"])


async def _listed(client: Client, count: int) -> list:
    """Those that the projector has seen fail, in two pages."""
    for _ in range(100):
        found = [one async for one in dead.dead(client, limit=10)]
        if len(found) == count:
            break
        await asyncio.sleep(0.05)
    return found
