"""A failing cache is a cache miss: the submission is built in its container and ends as it would.

The cache server that is down, and the signature that is refused, are in `test_two_hosts.py`.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.builder.conftest import STATE
from tests.builder.hosts import ended
from tests.builder.test_shells import derivation, shell

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
        for _ in range(200):
            if not any(builder.jobs.iterdir()):
                break
            await asyncio.sleep(0.1)
        assert await builder.log.state(id_) == state


async def test_a_host_whose_builders_are_all_dead_is_one(builder, impatient):
    await builder.pair.builder.kill()
    async with impatient():
        id_ = await builder.submit(shell(derivation("echo here > $out")), files=RUN)
        assert told(await ended(builder, id_)) == EXPECTED


async def test_a_builder_that_can_not_evaluate_is_one(builder, impatient):
    await builder.pair.evaluator.kill()
    async with impatient():
        id_ = await builder.submit(shell(derivation("echo here > $out")), files=RUN)
        assert told(await ended(builder, id_)) == EXPECTED
