"""A failing cache is a cache miss: the submission is built in its container and ends as it would.

The cache server that is down, and the signature that is refused, are in `test_two_hosts.py`.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.builder.boxes import jobs
from tests.builder.conftest import STATE
from tests.builder.hosts import ended
from tests.builder.test_shells import derivation, shell
from tests.killing import kill
from tests.worker.conftest import until

pytestmark = pytest.mark.integration
RUN = {"run.sh": 'cat "$x"'}
IN_THE_CONTAINER = ["submitted", "deps-queued", "started", "deps-built", "ran", "finished"]


@pytest.fixture
def impatient(worker_on):
    """A worker beside the builder, which waits for it for a second."""
    here = SimpleNamespace(folder=STATE)
    return lambda: worker_on(here, storekeeper=None, build_deadline_seconds=1)


def told(state):
    events = [moment.event for moment in state.timeline]
    return events, state.how, state.cache_miss, state.runs[0].stdout.data


EXPECTED = (
    IN_THE_CONTAINER, "in-container", "no builder's environment was there in time", "here\n",
)  # fmt: skip


async def test_a_build_that_is_too_slow_is_one_and_its_builder_says_nothing(builder, impatient):
    async with impatient():
        id_ = await builder.submit(shell(derivation("sleep 5; echo here > $out")), files=RUN)
        state = await ended(builder, id_)
        assert told(state) == EXPECTED
        await until(lambda: not jobs(builder), 120)
        assert await builder.log.state(id_) == state


async def test_a_host_whose_builders_are_all_dead_is_one(builder, impatient):
    await builder.pair.builder.kill()
    async with impatient():
        id_ = await builder.submit(shell(derivation("echo here > $out")), files=RUN)
        assert told(await ended(builder, id_)) == EXPECTED


async def test_a_builder_whose_build_containers_are_gone_is_one(builder, impatient):
    kill(builder.pair.pool.pid)
    id_ = await builder.submit(shell(derivation("echo here > $out")), files=RUN)
    async with asyncio.timeout(60):
        while not await builder.said("no pool of build containers answers"):
            await asyncio.sleep(0.2)
    assert (await builder.log.state(id_)).dependencies is None  # it is no verdict
    async with impatient():
        assert told(await ended(builder, id_)) == EXPECTED
    async with builder.restart():  # removes what the killed one has left
        pass
