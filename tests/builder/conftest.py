"""A real builder beside a real store: both containers, the offline channel, the NATS server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from init.limits import Stage, defaults
from sandstream.containers import builder_pair
from sandstream.plans import BuilderStack
from streams.content import inline
from streams.environments import environment_id, shell_files
from streams.events import CancelRequested, DepsQueued, Submitted
from streams.limits import Limits
from streams.log import EventLog
from streams.request import File, Request
from streams.setup import LogSettings
from tests.conftest import log_server

ROOT = Path(__file__).parents[2]
STATE = Path(os.environ.get("SANDSTREAM_TEST_STATE", ROOT / ".state-test"))
PYTHON = "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ]; %s }"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def images():
    """What `python -m nix prepare` says: image names and the channel's revision."""
    if shutil.which("docker") is None:
        pytest.skip("no docker: run `make setup-tests`; on CI this is a failure")
    argv = [sys.executable, "-m", "nix", "warm", "--state", str(STATE), "stdenvNoCC", "python3"]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


class Builder:
    """A running builder, and a client's side of the log."""

    def __init__(self, pair, log, stack, restart):
        self.pair = pair
        self.log = log
        self.stack = stack
        self.channel = stack.environment["SANDSTREAM_CHANNEL_REVISION"]
        self.restart = restart
        self.nats = None

    @property
    def jobs(self):
        """Folder of the jobs that run now."""
        return self.stack.run / "jobs"

    async def said(self, words):
        """How often the builder's log says this."""
        return (await self.pair.builder.log(5000)).count(words)

    async def submit(self, shell, *, files=None, id_=None, cache=True, **limits):
        """Queue an environment, or, without a cache, the submission alone; its id."""
        id_ = id_ or f"s{next(_NUMBERS)}"
        given = {"shell.nix": shell, "run.sh": "true", **(files or {})}
        held = tuple(File(name=n, content=inline(c.encode())) for n, c in given.items())
        shells = shell_files(held)
        environment = environment_id([(f.name, f.content.inline()) for f in shells], self.channel)
        asked = Limits(
            dependencies=replace(defaults(Stage.DEPENDENCIES), **limits),
            run=replace(defaults(Stage.RUN), wall_seconds=60.0),  # on a machine with much to do
        )
        request = Request(files=held, limits=asked, cache=cache)
        common = {
            "submission_id": id_,
            "by": "test",
            "environment_id": environment,
            "channel": self.channel,
        }
        story = [Submitted(request=request, **common)]
        if cache:
            story.append(DepsQueued(files=shells, limits=asked, **common))
        await self.log.append_all(story)
        return id_

    async def built(self, id_, *, within=60.0):
        """The state once its environment was answered."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            state = await self.log.state(id_)
            if state.dependencies is not None:
                return state
            await asyncio.sleep(0.02)
        raise AssertionError(
            f"{id_}: {state.status}; builder says:\n{await self.pair.builder.log()}"
        )

    async def build(self, shell, **more):
        return await self.built(await self.submit(shell, **more))

    async def cancel(self, id_):
        state = await self.log.state(id_)
        event = CancelRequested(submission_id=id_, by="test")
        await self.log.append(event, after=state.sequence)


def stack_of(nats, images, *, state=STATE, environment=None, **more):
    """A builder's stack, with folders of its own in `state`: others may use the store too."""
    from init.seccomp import profile

    settings = nats.settings("builder")
    name = f"test-{os.getpid()}-{next(_NUMBERS)}"
    return BuilderStack(
        instance=name,
        name=name,
        state=state,
        builder_image=images["builder"],
        runner_image=images["runner"],
        seccomp=json.dumps(profile()),
        environment={
            "SANDSTREAM_NATS_URL": nats.url,
            "SANDSTREAM_NATS_USER": "builder",
            "SANDSTREAM_NATS_PASSWORD": settings.nats_password.get_secret_value(),
            "SANDSTREAM_CHANNEL_REVISION": images["revision"],
            "SANDSTREAM_BUILDER_NAME": "test",
            "SANDSTREAM_BUILDER_WATCH_SECONDS": "0.2",
            **(environment or {}),
        },
        **more,
    )


@asynccontextmanager
async def running(nats, stack):
    """A builder at work."""
    try:
        async with nats.connect("api") as client, builder_pair(stack) as pair:
            yield Builder(pair, EventLog(client), stack, lambda: running(nats, stack))
    finally:
        shutil.rmtree(stack.run, ignore_errors=True)


@pytest_asyncio.fixture
async def builder(nats, images):
    """Both containers, with the test's own NATS server and the shared store."""
    stack = stack_of(nats, images)
    async with running(nats, stack) as made:
        yield made
    shutil.rmtree(stack.own, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(images, tmp_path_factory):
    """One builder for a module, for tests that don't end it. Its lease is long: none tests that."""
    folder = tmp_path_factory.mktemp("log")
    async with log_server(folder, LogSettings(lease_seconds=60)) as nats:
        stack = stack_of(nats, images)
        async with running(nats, stack) as made:
            made.nats = nats
            yield made
    shutil.rmtree(stack.own, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shared, images):
    """The shared builder, with a worker of its host beside it."""
    from tests.builder.world import working

    async with working(shared, images["runner"]) as made:
        yield made


@pytest_asyncio.fixture
async def first(nats, images, tmp_path):
    """A host with a builder that publishes; its cache is served in the second host's network."""
    from tests.builder.hosts import Host, free_port, network, public_key

    host = Host(tmp_path / "first", images["builder"]).fill(images["built"])
    with network() as (name, address):
        listen = f"{address}:{free_port(address)}"
        stack = stack_of(nats, images, state=host.folder, cache_listen=listen)
        async with running(nats, stack) as builder:
            key = await public_key(stack)
            yield SimpleNamespace(
                host=host, builder=builder, network=name, url=f"http://{listen}", key=key,
                stack=stack,
            )  # fmt: skip


@pytest.fixture
def second(images, tmp_path):
    """A host whose store is truly empty."""
    from tests.builder.hosts import Host

    return Host(tmp_path / "second", images["builder"])


@pytest.fixture
def worker_on(nats, images):
    """A worker of one of these hosts; by default with a store that nobody there builds for."""
    from tests.builder.hosts import socket_of
    from tests.worker.conftest import Worker

    @asynccontextmanager
    async def running(host, **settings):
        usual = {"storekeeper": socket_of(host), "fetch_seconds": 30}
        worker = Worker(host.folder, images["runner"], nats, **usual | settings)
        try:
            await worker.start()
            yield worker
        finally:
            await worker.stop()
            print(worker.words())  # noqa: T201 - pytest shows it when the test fails
        assert worker.remains() == []

    return running
