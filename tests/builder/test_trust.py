"""What the trusted side alone may do, tried from a build container and by others of the host."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
import pytest_asyncio

from init.frames import Broken, Stop
from init.wire import Decoder, encode
from sandstream.plans import BUILDER_UID
from tests.builder.boxes import boxes, building, jobs, pool_of
from tests.builder.conftest import STATE
from tests.builder.test_shells import derivation, shell
from tests.steps import program, told
from tests.worker.conftest import docker, until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
#: Becomes another user of the host, and says what comes of a connection to the pool.
CONNECT = """
import encodings.idna, os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as it:
    try:
        it.connect(sys.argv[1])
        print("done")
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture
def builder(shared):
    return shared


def inside(container, *argv):
    """Run a program in a container as its own user; stdout and stderr together."""
    return subprocess.run(
        ["docker", "exec", container, *argv],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    ).stdout  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module")
async def box(builder):
    """A build container while a job is in it."""
    id_ = await builder.submit(shell(derivation("sleep 1000")))
    pool = pool_of(builder)
    yield await until(lambda: building(pool, "sleep"), 120)
    await builder.cancel(id_)
    await until(lambda: not jobs(builder), 60)


async def test_a_build_container_writes_to_its_own_folder_alone(box):
    """Whoever has left nsjail and Nix's sandbox is this user, and no more."""
    store = next(iter((STATE / "nix/store").glob("*-bash-*/bin/bash")))
    bash = f"/nix/store/{store.relative_to(STATE / 'nix/store')}"
    places = {
        "run": "/run/builder", "database": "/nix/var/nix/db/db.sqlite",
        "records": "/var/lib/sandstream", "keys": "/cache", "docker": "/var/run/docker.sock",
    }  # fmt: skip
    steps = {
        "own scratch": "write('/scratch/mine'); os.unlink('/scratch/mine')",
        "own store": "os.listdir('/nix/store')",
        "store": "write('/nix/store/mine')",
        "bash": f"write({bash!r})",
        "mode of bash": f"os.chmod({bash!r}, 0o777)",
        "channel": "write('/channel/default.nix')",
        "code": "write('/mine')",
        "remount": "call(165, None, b'/nix/store', None, 0x20 | 0x1000, None)",
        "become the owner": f"os.setuid({BUILDER_UID})",
        **{name: f"os.stat({path!r})" for name, path in places.items()},
    }
    words = inside(box, "python3", "-c", program(steps))
    assert told(words) == dict.fromkeys(places, "ENOENT") | {
        "own scratch": "done", "own store": "done", "store": "EROFS", "bash": "EROFS",
        "mode of bash": "EROFS", "channel": "EROFS", "code": "EROFS", "remount": "EPERM",
        "become the owner": "EPERM",
    }, words  # fmt: skip


async def test_no_container_of_ours_has_any_capability(builder, box):
    lent = list(boxes(pool_of(builder)))
    assert box in lent
    for container in (builder.pair.builder.name, *lent):
        words = inside(container, "grep", "-E", "Cap|NoNewPrivs|Seccomp:", "/proc/1/status")
        facts = dict(line.split(":", 1) for line in words.splitlines())
        caps = {name: int(value, 16) for name, value in facts.items() if name.startswith("Cap")}
        assert set(caps) == {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
        assert set(caps.values()) == {0}, caps
        assert facts["NoNewPrivs"].strip() == "1"
        assert facts["Seccomp"].strip() == "2"


async def test_a_build_container_has_no_network(box):
    words = inside(box, "cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in words.splitlines()[2:]] == ["lo"]


async def test_each_job_has_a_container_and_a_uid_of_its_own(builder):
    """Neither is lent again before all that a job had is gone."""
    pool = pool_of(builder)
    ids = [await builder.submit(shell(derivation("sleep 1000"))) for _ in range(2)]
    folders = await until(lambda: len(found := jobs(builder)) == 2 and found, 120)
    facts = json.loads(docker("inspect", *(folder.name for folder in folders)))
    users = {one["Config"]["User"].split(":")[0] for one in facts}
    assert len(users) == 2
    assert users == {str(folder.stat().st_uid) for folder in folders}
    assert str(BUILDER_UID) not in users
    for id_ in ids:
        await builder.cancel(id_)
    names = {folder.name for folder in folders}
    await until(lambda: not any(folder.exists() for folder in folders), 60)
    await until(lambda: not names & set(boxes(pool)), 60)
    state = await builder.build(shell())
    assert state.dependencies.outcome == "ok", state.dependencies


async def test_only_the_stores_owner_can_ask_the_pool_for_a_container(builder, box):
    socket = builder.stack.pool
    assert socket.stat().st_uid == BUILDER_UID
    assert socket.stat().st_mode & 0o777 == 0o600
    (job,) = json.loads(docker("inspect", box))

    def connects(uid):
        """In a place that it can reach, so that the socket's own mode decides."""
        argv = [sys.executable, "-c", CONNECT, f"/proc/self/fd/{folder}/pool", str(uid)]
        done = subprocess.run(argv, pass_fds=(folder,), capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr

    folder = os.open(socket.parent, os.O_PATH)
    try:
        others = [int(job["Config"]["User"].split(":")[0]), 65534]
        assert [connects(uid) for uid in others] == ["PermissionError"] * 2
        assert connects(BUILDER_UID) == "done"
    finally:
        os.close(folder)


async def test_a_pool_lends_nothing_to_who_does_not_speak_as_agreed(builder):
    reader, writer = await asyncio.open_unix_connection(str(builder.stack.pool))
    before = set(boxes(pool_of(builder)))
    writer.write(encode(Stop()))
    await writer.drain()
    (frame,) = Decoder().feed(await asyncio.wait_for(reader.read(), 30))
    writer.close()
    assert isinstance(frame, Broken)
    assert "a Stop instead of a build" in frame.reason
    assert before <= set(boxes(pool_of(builder)))  # none was used up
