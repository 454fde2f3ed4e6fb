"""The whole system, as `make up` starts it, on a fresh state over the shared store and channel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from sandstream.stack import stack
from sandstream.state import State

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SANDSTREAM_TEST_STATE", ROOT / ".state-test")).resolve()


@pytest.fixture(scope="session")
def prepared():
    """Images of this source, and a store that has what the tests' shells need."""
    if shutil.which("docker") is None:
        pytest.skip("no docker: run `make setup-tests`; on CI this is a failure")
    argv = [sys.executable, "-m", "nix", "warm", "--state", str(SHARED)]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="session")
def make_state(prepared, tmp_path_factory):
    """A new state: a log, secrets and environments of its own over the one store."""

    def make() -> State:
        folder = tmp_path_factory.mktemp("state")
        for name in ("nix", "channel"):
            (folder / name).symlink_to(SHARED / name)
        return State(folder)

    return make


@asynccontextmanager
async def system(state: State, said: list[str]):
    """A running stack on a free port."""
    async with stack(state, port=0, nats_port=0, say=said.append) as running:
        yield running


def containers(state: State) -> list[str]:
    """Names of all containers that belong to this state's stack, whatever their role.

    Those of its worker and of its build pools are submission containers: which, their label says.
    """
    from sandstream.builders import instance
    from sandstream.services import own_to

    worker = own_to(state)["SANDSTREAM_WORKER_NAME"]
    whose = re.compile(rf"{re.escape(worker)}(-builds-\d+)?")
    label = '{{.Label "sandstream.instance"}} {{.Label "sandstream.worker"}} {{.Names}}'
    argv = ["docker", "ps", "--all", "--format", label]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    every = [line.split(" ") for line in lines]
    return [
        name
        for labelled, owner, name in every
        if labelled == instance(state) or whose.fullmatch(owner)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(make_state):
    """One stack for a module; it must have had nothing to say at its end."""
    said: list[str] = []
    async with system(make_state(), said) as made:
        yield made
    assert said == []
