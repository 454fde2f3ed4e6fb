"""Environments go when nobody asks for them any more, and never while somebody needs them."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.builder.conftest import running, stack_of
from tests.builder.hosts import Host, ended, held
from tests.builder.test_shells import derivation, shell

pytestmark = pytest.mark.integration


@pytest.fixture
def host(images, tmp_path):
    return Host(tmp_path / "host", images["builder"]).fill(images["built"])


@asynccontextmanager
async def collecting(nats, images, host, *, age="1", grace="1", size="0", **more):
    environment = {
        "SANDSTREAM_ENVIRONMENT_MAX_AGE_SECONDS": age,
        "SANDSTREAM_ENVIRONMENT_GRACE_SECONDS": grace,
        "SANDSTREAM_STORE_MAX_BYTES": size,
        "SANDSTREAM_COLLECT_SECONDS": "0.5",
        "SANDSTREAM_PUBLISH_TO": "file:///cache",
    }
    stack = stack_of(nats, images, state=host.folder, environment=environment, **more)
    async with running(nats, stack) as builder:
        yield builder


@contextmanager
def worker(host):
    """What a worker holds while it runs a submission; it lets a collector that waits go first."""
    folder = host.folder / "nix/var/sandstream"
    with (folder / "in-use").open() as lock:
        with (folder / "gate").open() as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def here(host, environment):
    """Whether all of it is in the store."""
    return all((host.store / Path(path).name).exists() for path in held(host, environment))


async def gone(host, environment, *, within=40.0):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not (host.store / Path(environment.path).name).exists():
            return True
        await asyncio.sleep(0.1)
    return False


async def test_what_nobody_asks_for_any_more_goes_and_can_come_again(nats, images, host):
    async with collecting(nats, images, host) as builder:
        text = shell(derivation("echo x > $out"))
        built = await builder.build(text)
        assert await gone(host, built.environment), await builder.pair.builder.log()
        assert not list((host.folder / "nix/var/nix/gcroots/sandstream").iterdir())
        name = Path(built.environment.path).name[:32]
        for _ in range(100):
            if not (builder.stack.cache / f"{name}.narinfo").exists():
                break
            await asyncio.sleep(0.1)
        assert not (builder.stack.cache / f"{name}.narinfo").exists()
        again = await builder.build(text)
        assert (again.how, again.dependencies.outcome) == ("built", "ok"), again.dependencies
        assert again.environment.path == built.environment.path


async def test_what_is_asked_for_stays(nats, images, host):
    async with collecting(nats, images, host, age="4", grace="4") as builder:
        kept, left = shell(), shell()
        first = await builder.build(kept)
        other = await builder.build(left)
        end = time.monotonic() + 12
        while time.monotonic() < end:
            assert (await builder.build(kept)).how == "hit"
            await asyncio.sleep(0.3)
        assert here(host, first.environment)
        assert await gone(host, other.environment)


async def test_a_worker_that_runs_a_submission_keeps_everything(nats, images, host):
    async with collecting(nats, images, host) as builder:
        built = await builder.build(shell())
        with worker(host):
            end = time.monotonic() + 30
            while time.monotonic() < end and not await builder.said("the store is in use"):
                await asyncio.sleep(0.5)
            assert here(host, built.environment)
            # a build has to wait for the collector that waits, and no longer than that
            other = await builder.built(await builder.submit(shell()), within=90)
            assert other.dependencies.outcome == "ok"
        assert await gone(host, built.environment)


async def test_the_longest_unused_goes_first_when_the_store_is_full(nats, images, host):
    async with collecting(nats, images, host, age="0", grace="2", size="150000000") as builder:
        fill = "head -c 40000000 /dev/zero > $out"
        states = [await builder.build(shell(derivation(fill))) for _ in range(4)]
        assert await gone(host, states[0].environment), await builder.pair.builder.log()
        await asyncio.sleep(3)
        assert here(host, states[-1].environment)


async def test_under_load_nothing_that_a_submission_needs_is_collected(
    nats, images, host, worker_on
):
    """Environments come and go all the time; each is whole from its event to its submission's end.

    Those without a cache read the store, too: what lies under their overlay must not go.
    """
    run = {"run.sh": 'cat "$x"; sleep 0.3; cat "$x"'}
    texts = [shell(derivation("echo here > $out")) for _ in range(3)]
    states = []
    deadline = time.monotonic() + 150

    async def client(number):
        """Two environments rest while the third is used: they become due, and come again."""
        for turn in itertools.count():
            if turn > 12 and (removed() >= 2 or time.monotonic() > deadline):
                return
            cache = (turn + number) % 6 != 0
            id_ = await builder.submit(texts[turn // 4 % 3], files=run, cache=cache)
            states.append(await ended(builder, id_, 120))
            await asyncio.sleep(0.5)

    def removed():
        """How often one of them had to be built again."""
        return sum(state.how == "built" for state in states) - len(texts)

    async with (
        collecting(nats, images, host, age="6", grace="6") as builder,
        worker_on(host, storekeeper=None, worker_slots=3, worker_pool=3),
    ):
        await asyncio.gather(*(client(number) for number in range(3)))
    for state in states:
        assert state.runs[0].stdout.data == "here\nhere\n", state
        assert state.cache_miss is None, state
    assert removed() >= 2
    assert {"built", "hit", "in-container"} <= {state.how for state in states}
