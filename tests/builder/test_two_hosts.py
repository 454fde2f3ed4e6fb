"""Submissions on two hosts: a builder with its store here, a worker with its own there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandstream.leftovers import birth
from tests.builder.conftest import ROOT
from tests.builder.hosts import ended, held, keeper, published, requests
from tests.builder.test_cache import OTHER_KEY
from tests.builder.test_shells import shell
from tests.killing import kill

pytestmark = pytest.mark.integration
RUN = {"run.sh": "python3 -c 'print(6 * 7)'"}
BUILT_THERE = ["submitted", "deps-queued", "deps-built", "started", "ran", "finished"]
BUILT_HERE = [*BUILT_THERE[:4], "deps-built", *BUILT_THERE[4:]]


def names(state):
    return [moment.event for moment in state.timeline]


def started(first, second, nats):
    """The command that docs/environments.md gives for a host that has workers alone."""
    env = {
        "PATH": os.environ["PATH"],
        "SANDSTREAM_STATE": str(second.folder),
        "SANDSTREAM_NATS_URL": nats.url,
        "SANDSTREAM_NATS_USER": "worker",
        "SANDSTREAM_NATS_PASSWORD": nats.secrets["worker"],
        "SANDSTREAM_WORKER_POOL": "2",
        "SUBSTITUTERS": first.url,
        "TRUSTED_PUBLIC_KEYS": first.key,
    }
    argv = [sys.executable, "-u", "-m", "sandstream.builders", "worker"]
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


@contextmanager
def worker_host(first, second, nats):
    """It runs while the block does, and ends well."""
    process = started(first, second, nats)
    try:
        assert "up" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=60)
        print((second.folder / "logs/worker.log").read_text())  # noqa: T201 - for a failure
    assert (process.returncode, rest) == (0, "")


async def test_what_one_host_has_built_runs_on_another_and_is_downloaded_once(first, second, nats):
    text = shell()
    await published(first, (await first.builder.build(text)).environment.path)
    with worker_host(first, second, nats):
        ids = [await first.builder.submit(text, files=RUN) for _ in range(2)]
        states = [await ended(first.builder, id_) for id_ in ids]
        wanted = held(first.host, states[0].environment)
        downloads = requests(first, "/nar/")
        assert len(downloads) == len(set(downloads)) == len(wanted)
        later = await ended(first.builder, await first.builder.submit(text, files=RUN))
        assert requests(first, "/nar/") == downloads
    for state in (*states, later):
        assert names(state) == BUILT_THERE
        assert (state.runs[0].stdout.data, state.cache_miss) == ("42\n", None)
        assert state.timeline[3].by != state.timeline[2].by
    assert second.valid() == wanted


async def test_a_worker_whose_keeper_was_killed_is_ended_by_the_next_one(first, second, nats):
    """Two workers of one name would take each other's containers for leftovers."""
    with started(first, second, nats) as process:
        assert "up" in process.stdout.readline()
        noted = (second.folder / "running/worker").read_text()
        kill(process.pid)
    pid, _, born = noted.partition(" ")
    assert birth(int(pid)) == born
    with started(first, second, nats) as process:
        assert "worker of an earlier life was still running: ended" in process.stdout.readline()
        assert "up" in process.stdout.readline()
        assert birth(int(pid)) != born
        process.terminate()
        assert process.wait(60) == 0


async def test_what_can_not_be_fetched_is_built_in_the_container_and_the_event_says_why(
    first, second, worker_on, images
):
    second.fill(images["built"])
    before = second.valid()
    down = first.url.rpartition(":")[0] + ":1"

    text = shell()
    # a storekeeper waits 15 s for its publication, and a busy machine may take longer
    await published(first, (await first.builder.build(text)).environment.path)

    async def one(**settings):
        async with worker_on(second, **settings):
            return await ended(first.builder, await first.builder.submit(text, files=RUN))

    async with keeper(first, second, key=OTHER_KEY):
        refused = await one()
    async with keeper(first, second, url=down):
        away = await one(fetch_seconds=4)
    alone = await one()
    for state, *why in (
        (refused, "not signed by any of the keys"),
        (away, "unable to download", "not fetched within 4 s"),
        (alone, "the storekeeper does not answer"),
    ):
        assert any(words in state.cache_miss for words in why), state.cache_miss
        assert names(state) == BUILT_HERE
        assert (state.how, state.runs[0].stdout.data) == ("in-container", "42\n")
    assert second.valid() == before


async def test_a_worker_hosts_own_store_is_collected_but_never_under_a_submission(
    first, second, worker_on
):
    limits = {
        "SANDSTREAM_ENVIRONMENT_MAX_AGE_SECONDS": "6",
        "SANDSTREAM_ENVIRONMENT_GRACE_SECONDS": "6",
        "SANDSTREAM_COLLECT_SECONDS": "0.5",
    }
    text = shell()
    async with keeper(first, second, **limits) as running, worker_on(second):
        slow = {"run.sh": "sleep 12; python3 -c 'print(6 * 7)'"}
        state = await ended(first.builder, await first.builder.submit(text, files=slow), 120)
        assert state.runs[0].stdout.data == "42\n", state
        assert "the store is in use" in await running.log()
        path = second.store / Path(state.environment.path).name
        for _ in range(800):
            if not path.exists():
                break
            await asyncio.sleep(0.05)
        assert not path.exists(), await running.log()
        again = await ended(first.builder, await first.builder.submit(text, files=RUN))
    assert names(again) == BUILT_THERE
