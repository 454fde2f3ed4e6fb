"""Build containers and their pool: what dies is no verdict, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.builder.boxes import boxes, building, jobs, pool_of, processes
from tests.builder.conftest import running, stack_of
from tests.builder.test_shells import derivation, shell
from tests.killing import kill
from tests.reliability.strikes import container_pid
from tests.worker.conftest import cgroups_of, until

pytestmark = pytest.mark.integration


def slow(seconds=1000):
    """A shell whose build shows itself as `sleep`."""
    return shell(derivation(f"sleep {seconds}; echo x > $out"))


async def pids(name):
    """A container's first process, which only waits, and its child, which does the work."""
    first = await container_pid(name)
    return first, int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])


@pytest.mark.parametrize("which", [0, 1], ids=["container", "init"])
async def test_a_build_whose_container_dies_begins_anew(builder, which):
    pool = pool_of(builder)
    id_ = await builder.submit(slow(8))
    name = await until(lambda: building(pool, "sleep"), 120)
    group = cgroups_of(boxes(pool)[name])
    assert group
    kill((await pids(name))[which])
    state = await builder.built(id_)
    assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies
    assert await builder.said("BoxGone") == 1
    assert await builder.said("building it") == 2
    await until(lambda: not jobs(builder), 120)
    assert name not in boxes(pool)
    assert not any(folder.exists() for folder in group)


async def test_a_build_whose_container_stands_still_goes_on_where_it_was(builder):
    pool = pool_of(builder)
    id_ = await builder.submit(slow(5))
    name = await until(lambda: building(pool, "sleep"), 120)
    _, init = await pids(name)
    os.kill(init, signal.SIGSTOP)
    await until(lambda: "sleep" not in processes(boxes(pool)[name]).values(), 120)
    assert (await builder.log.state(id_)).dependencies is None
    os.kill(init, signal.SIGCONT)
    state = await builder.built(id_)
    assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies
    assert await builder.said("building it") == 1


async def test_what_a_killed_pool_leaves_is_removed_by_the_next_and_its_build_begins_anew(builder):
    pool = pool_of(builder)
    id_ = await builder.submit(slow(8))
    await until(lambda: building(pool, "sleep"), 120)
    left = boxes(pool)
    groups = [group for one in left.values() for group in cgroups_of(one)]
    assert len(left) >= 2
    assert groups
    kill(builder.pair.pool.pid)
    assert "the build pool ended with -9" in str(await builder.pair.died())
    async with builder.restart() as again:
        # another pool of this store may have taken the name: ids say whose they are
        assert not set(left.values()) & set(boxes(pool).values())
        assert not any(group.exists() for group in groups)
        state = await again.built(id_)
        own = pool_of(again), boxes(pool_of(again))
        assert own[1]
    assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies
    assert not set(own[1].values()) & set(boxes(own[0]).values())


async def test_with_fewer_pools_than_before_nothing_of_a_killed_one_is_left(nats, images):
    async with (
        running(nats, stack_of(nats, images)) as one,
        running(nats, stack_of(nats, images)) as two,
    ):
        pools = [pool_of(one), pool_of(two)]
        assert len(set(pools)) == 2
        left = [set(boxes(pool).values()) for pool in pools]
        assert all(left)
        for builder in (one, two):
            kill(builder.pair.pool.pid)
            await builder.pair.died()
        async with one.restart():
            for pool, ids in zip(pools, left, strict=True):
                assert not ids & set(boxes(pool).values())


async def test_a_builder_that_is_killed_while_it_keeps_an_environment_keeps_it_the_next_time(
    builder,
):
    text = shell(derivation("head -c 40000000 /dev/zero > $out; echo end >> $out"))
    id_ = await builder.submit(text)
    box = builder.pair.builder.id
    await until(lambda: "nix-store" in processes(box).values(), 120)
    kill(await container_pid(builder.pair.builder.name))
    async with builder.restart() as again:
        state = await again.built(id_, within=120)
        assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies
        store = again.stack.state.absolute() / "nix/store"
        kept = store / Path(state.environment.path).name
        (large,) = (file for file in kept.iterdir() if file.stat().st_size > 40_000_000)
        assert large.read_bytes()[40_000_000:] == b"end\n"
        assert [path.name for path in store.glob(f"*{state.environment.id}*")] == [kept.name]
        assert not any((again.stack.own / "scratch").iterdir())


async def test_a_cancelled_build_lets_its_container_go_at_once(nats, images):
    """There is one place: whoever waits for it has it."""
    stack = stack_of(nats, images, environment={"SANDSTREAM_BUILDER_JOBS": "1"})
    async with running(nats, stack) as builder:
        pool = pool_of(builder)
        cancelled, waits = await builder.submit(slow()), await builder.submit(slow(0.1))
        name = await until(lambda: building(pool, "sleep"), 120)
        box = boxes(pool)[name]
        await builder.cancel(cancelled)
        await until(lambda: not processes(box), 30)
        assert (await builder.built(waits)).dependencies.outcome == "ok"
        assert (await builder.log.state(cancelled)).dependencies is None
        await until(lambda: not jobs(builder), 120)
        assert name not in boxes(pool)
