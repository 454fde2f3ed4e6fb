"""The ledger of a host's memory, between real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from init.limits import GIB, MIB
from streams.memory import Ledger, MemorySettings, budget_of_host

pytestmark = pytest.mark.integration

BUDGET = 100
_PROGRAM = Path(__file__).with_name("memory_holder.py")
_ROOT = Path(__file__).parents[2]
#: Long enough for a reservation that is free to be given, on a busy machine.
_SOON = 20
#: Long enough to see that one that is not free is not given.
_WHILE = 0.7


class Holder:
    """A process that reserves and lets go as it is told."""

    def __init__(self, process) -> None:
        self.process = process
        self.said: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self.process.stdout:
            self.said.append(line.decode().strip())

    def take(self, name: str, size: int) -> None:
        self.process.stdin.write(f"take {name} {size}\n".encode())

    async def free(self, name: str) -> None:
        self.process.stdin.write(f"free {name}\n".encode())
        await self.says(f"freed {name}")

    async def says(self, words: str) -> None:
        async with asyncio.timeout(_SOON):
            while words not in self.said:
                await asyncio.sleep(0.01)

    async def has(self, name: str) -> None:
        await self.says(f"has {name}")

    async def has_not(self, name: str) -> None:
        await asyncio.sleep(_WHILE)
        assert f"has {name}" not in self.said

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture
def store():
    """A store's folder where every user can reach it."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "var").mkdir()
        yield Path(folder)


@pytest.fixture
async def start(store):
    """Starts holders of one store's memory; none is left."""
    holders: list[Holder] = []

    async def one(*uid: int) -> Holder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, _PROGRAM, store, str(BUDGET), *map(str, uid),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
        holders.append(Holder(process))
        await holders[-1].says("ready")
        return holders[-1]

    yield one
    for holder in holders:
        await holder.kill()


async def test_what_is_there_is_given_at_once_and_no_more_than_that(start):
    one, other = await start(), await start()
    one.take("a", 60)
    await one.has("a")
    other.take("b", 40)
    await other.has("b")
    other.take("c", 1)
    await other.has_not("c")
    await one.free("a")
    await other.has("c")


async def test_reservation_of_a_killed_process_is_free_at_once(start):
    one, other = await start(), await start()
    one.take("a", BUDGET)
    await one.has("a")
    other.take("b", 50)
    await other.has_not("b")
    await one.kill()
    await other.has("b")


async def test_large_one_is_not_starved_by_small_ones(start):
    one, other, third = await start(), await start(), await start()
    one.take("first", 30)
    await one.has("first")
    other.take("large", 90)
    await other.has_not("large")
    # There is room for each of these, but they came later.
    for number in range(3):
        third.take(f"small{number}", 10)
    await third.has_not("small0")
    await one.free("first")
    await other.has("large")
    await third.has("small0")
    assert "has small1" not in third.said
    await other.free("large")
    await third.has("small2")


@pytest.mark.parametrize("how", ["cancelled", "killed"])
async def test_one_that_waits_no_longer_holds_up_nobody(start, how):
    one, other, third = await start(), await start(), await start()
    one.take("first", 30)
    await one.has("first")
    other.take("large", 90)
    await other.has_not("large")
    third.take("small", 10)
    await third.has_not("small")
    await (other.free("large") if how == "cancelled" else other.kill())
    await third.has("small")


async def test_more_than_there_is_gets_all_of_it_and_is_alone(start):
    one, other = await start(), await start()
    one.take("huge", 10 * BUDGET)
    await one.has("huge")
    other.take("small", 1)
    await other.has_not("small")
    await one.free("huge")
    await other.has("small")


async def test_reservations_in_pieces_are_as_good_as_in_one(start):
    one, other = await start(), await start()
    for number in range(10):
        one.take(str(number), 10)
        await one.has(str(number))
    for number in (1, 4, 6):
        await one.free(str(number))
    other.take("across", 30)
    await other.has("across")
    other.take("more", 1)
    await other.has_not("more")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, and another uid")
@pytest.mark.parametrize("first", ["root", "owner"])
async def test_root_and_the_stores_owner_share_one_ledger(start, store, first):
    """The worker is root; a builder is the owner of the store, and nothing else of the host's."""
    for folder in (store, store / "var"):
        os.chown(folder, 30000, 30000)
    order: list[tuple[int, ...]] = [(), (30000,)]
    one, other = [await start(*uid) for uid in (order if first == "root" else order[::-1])]
    one.take("a", 80)
    await one.has("a")
    other.take("b", 30)
    await other.has_not("b")
    await one.kill()
    await other.has("b")


async def test_never_more_than_the_budget_among_many(store):
    """Tasks of one process, whose sum can be seen at every moment."""
    ledger = Ledger(store, BUDGET * MIB)
    ledger.make()
    held, most, done = 0, 0, 0
    chance = random.Random(7)

    async def hold(size: int, seconds: float) -> None:
        nonlocal held, most, done
        async with ledger.reserved(size * MIB):
            held += size
            most = max(most, held)
            assert held <= BUDGET
            await asyncio.sleep(seconds)
            held -= size
        done += 1

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(hold(chance.randint(1, 90), chance.uniform(0, 0.03)) for _ in range(60))
        )
    assert done == 60
    assert most > BUDGET / 2


@asynccontextmanager
async def timed(limit: float):
    loop = asyncio.get_running_loop()
    began = loop.time()
    yield
    assert loop.time() - began < limit


async def test_immense_host_is_looked_through_quickly(store):
    ledger = Ledger(store, 4096 * GIB)
    ledger.make()
    async with timed(5), ledger.reserved(1024 * GIB), ledger.reserved(3072 * GIB):
        pass


def test_budget_is_the_hosts_memory_less_2_gib_unless_told(monkeypatch):
    monkeypatch.delenv("SANDSTREAM_MEMORY_BUDGET_BYTES", raising=False)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert MemorySettings().memory_budget_bytes == budget_of_host() == host - 2 * GIB
    monkeypatch.setenv("SANDSTREAM_MEMORY_BUDGET_BYTES", str(GIB))
    assert MemorySettings().memory_budget_bytes == GIB
