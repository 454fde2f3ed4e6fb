"""The pool, with containers that are made and die as a test says."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from worker.pool import Pool


class Fake:
    def __init__(self, number: int) -> None:
        self.name = f"fake-{number}"
        self.dead = asyncio.Event()


class Maker:
    """Counts what it makes; `broken` makes it fail, `slow` makes it wait."""

    def __init__(self) -> None:
        self.made: list[Fake] = []
        self.living: set[Fake] = set()
        self.starting = self.most_starting = 0
        self.broken = False
        self.slow = asyncio.Event()
        self.slow.set()

    @asynccontextmanager
    async def __call__(self):
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            await self.slow.wait()
            await asyncio.sleep(0.001)
            if self.broken:
                raise OSError("no engine")
        finally:
            self.starting -= 1
        box = Fake(len(self.made))
        self.made.append(box)
        self.living.add(box)
        try:
            yield box
        finally:
            await asyncio.sleep(0)
            self.living.discard(box)


def pool(make: Maker, size: int = 2, starts: int = 2) -> Pool[Fake]:
    return Pool(make, size=size, starts=starts, backoff_seconds=(0.01, 0.05))


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_keeps_the_wanted_number_idle_and_removes_them_at_the_end():
    make = Maker()
    async with pool(make, size=3) as warm:
        await until(lambda: warm.idle == 3)
    assert len(make.made) == 3
    assert not make.living


async def test_a_taken_container_is_replaced_when_it_is_let_go():
    make = Maker()
    async with pool(make) as warm:
        await until(lambda: warm.idle == 2)
        async with warm.take() as box:
            await asyncio.sleep(0.01)
            assert len(make.made) == 2
            assert box in make.living
        await until(lambda: box not in make.living)
        await until(lambda: warm.idle == 2)


async def test_below_half_of_its_size_the_pool_replaces_at_once():
    make = Maker()
    async with pool(make, size=2) as warm:
        await until(lambda: warm.idle == 2)
        async with warm.take(), warm.take():
            await until(lambda: warm.idle == 1)
            assert len(make.made) == 3


async def test_each_container_is_taken_once():
    make = Maker()
    taken = []

    async def use(warm):
        async with warm.take() as box:
            taken.append(box)
            await asyncio.sleep(0.002)

    async with pool(make) as warm:
        async with asyncio.timeout(5):
            await asyncio.gather(*(use(warm) for _ in range(30)))
        assert len(set(taken)) == 30
        await until(lambda: warm.idle == 2)


async def test_takers_that_empty_the_pool_do_not_leave_it_empty():
    make = Maker()
    make.slow.clear()
    async with pool(make) as warm, asyncio.TaskGroup() as takers:

        async def use():
            async with warm.take():
                await asyncio.sleep(0)

        for _ in range(2):
            takers.create_task(use())
        await asyncio.sleep(0.01)
        make.slow.set()
        await until(lambda: warm.idle == 2)


async def test_no_more_than_the_allowed_number_start_at_once():
    make = Maker()
    async with pool(make, size=6, starts=2) as warm:
        await until(lambda: warm.idle == 6)
    assert make.most_starting == 2


async def test_a_container_that_dies_idle_is_replaced():
    make = Maker()
    async with pool(make) as warm:
        await until(lambda: warm.idle == 2)
        first = make.made[0]
        first.dead.set()
        await until(lambda: first not in make.living and warm.idle == 2)
        async with warm.take() as box:
            assert box is not first


async def test_a_container_that_dies_in_use_stays_its_takers():
    make = Maker()
    async with pool(make) as warm, warm.take() as box:
        box.dead.set()
        await asyncio.sleep(0.01)
        assert box in make.living


async def test_failures_are_told_and_waited_out(caplog):
    make = Maker()
    make.broken = True
    with caplog.at_level(logging.WARNING):
        async with pool(make) as warm:
            await until(lambda: "failure 4 in a row" in caplog.text)
            make.broken = False
            async with asyncio.timeout(5):
                await warm.available()
                async with warm.take():
                    pass
    assert "containers start again after" in caplog.text


async def test_those_that_fail_together_double_the_wait_once(caplog):
    make = Maker()
    make.broken = True
    with caplog.at_level(logging.ERROR):
        async with Pool(make, size=8, starts=8, backoff_seconds=(0.02, 10)) as warm:
            await until(lambda: "failure 24 in a row" in caplog.text)
            assert warm.idle == 0
    assert "next try in 0.1 s" in caplog.text
    assert "next try in 0.2 s" not in caplog.text


async def test_nothing_is_available_before_a_container_is_ready():
    make = Maker()
    make.slow.clear()
    async with pool(make) as warm:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(warm.available(), 0.02)
        make.slow.set()
        await asyncio.wait_for(warm.available(), 10)


async def test_a_cancelled_taker_loses_no_container():
    make = Maker()
    make.slow.clear()
    async with pool(make) as warm:

        async def use():
            async with warm.take():
                await asyncio.sleep(10)

        waiting = asyncio.create_task(use())
        await asyncio.sleep(0.005)
        waiting.cancel()
        make.slow.set()
        await until(lambda: warm.idle == 2)
        assert len(make.made) == 2


async def test_the_end_cancels_what_is_still_starting():
    make = Maker()
    make.slow.clear()
    async with asyncio.timeout(5):
        async with pool(make):
            await asyncio.sleep(0.005)
    assert not make.living
