"""API, projector and NATS, as `make up` starts them, have nothing of the host but their own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from sandstream import access, confined
from sandstream.plans import BUILDER_UID
from sandstream.stack import Stack
from sandstream.state import CHECKOUT, State
from streams.connection import NatsSettings, connect
from tests.e2e.conftest import containers, system
from tests.e2e.inside import status, tried

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="services have users of their own: needs root"),
]
NAMES = ("nats", "api", "projector")
ENGINE = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
#: Owned by its own reader, who alone has a right to it.
PASSWORDS = ("api", "builder", "projector", "worker", "auditor", "admin")


@dataclass
class System:
    state: State
    stack: Stack

    def pid(self, name: str) -> int:
        if name == "nats":
            return int((self.state.running / "nats").read_text().split()[0])
        pid = self.stack.children[name].pid
        assert pid is not None
        return pid


def key(state: State) -> Path:
    """With which a builder signs what workers trust."""
    keys = sorted((state.folder / "builder").glob("*.secret"))
    return keys[0] if keys else state.folder / "builder" / "no-key-yet"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(make_state):
    state, said = make_state(), []
    # As a login gives it to us: fewer than a host lets a process have.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, files[1]))
    async with system(state, said) as running:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        async with asyncio.timeout(60):
            while not key(state).exists():  # the builder makes it at its first start
                await asyncio.sleep(0.1)
        yield System(state, running)
    assert said == []


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_has_a_user_of_its_own_and_no_privileges(up, name):
    found = status(up.pid(name))
    own = str(confined.uid(up.state, name))
    assert found["Uid"].split() == found["Gid"].split() == [own] * 4
    assert found["Groups"] == ""
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert [int(found[each], 16) for each in sets] == [0] * 5
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


async def test_no_two_services_have_the_same_user(up):
    uids = {status(up.pid(name))["Uid"] for name in (*NAMES, "worker")}
    assert len(uids) == 4


def read_by(pid: int, wanted: tuple[tuple[str, Path], ...]) -> list[tuple[str, Path]]:
    did = tried(pid, *wanted)
    return [one for one, answer in zip(wanted, did, strict=True) if answer == "done"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_can_read_nothing_of_the_host_and_of_the_others(up, name):
    state = up.state
    others = [state.passwords / each for each in PASSWORDS if each != name]
    read = (
        *(("read", CHECKOUT / each) for each in ("sandstream", "worker", "builder", "Makefile")),
        *(("read", each) for each in others),
        ("read", state.secrets),
        ("read", key(state)),
        ("read", state.folder / "builder" / "nats-password"),
        ("read", state.nix / "var"),
        ("read", state.folder / "worker"),
        ("read", state.logs),
        ("read", Path(f"/proc/{up.pid('worker')}/environ")),
        ("read", Path("/etc/shadow")),
        ("read", Path("/bin/sh")),
        ("read", Path("/var")),
    )
    assert read_by(up.pid(name), read) == []
    # The worker reads every one of them: so each is really there.
    assert read_by(up.pid("worker"), read) == list(read)


@pytest.mark.parametrize("name", ["api", "projector"])
async def test_a_service_without_files_of_its_own_can_write_nowhere(up, name):
    folders = ["/", "/tmp", "/dev", "/usr/lib", str(CHECKOUT), str(CHECKOUT / name), "/etc"]
    assert "done" not in tried(up.pid(name), *(("write", Path(each)) for each in folders))
    assert tried(up.pid(name), ("read", CHECKOUT / name)) == ["done"]
    assert tried(up.pid(name), ("read", up.state.passwords / name)) == ["done"]
    assert "done" not in tried(up.pid(name), ("read", up.state.nats / "nats.conf"))


async def test_the_event_logs_server_writes_its_store_and_nothing_else(up):
    nats = up.state.nats
    wanted = [
        ("write", nats / "jetstream"),
        ("write", nats / "ports"),
        ("read", nats / "nats.conf"),
    ]
    assert tried(up.pid("nats"), *wanted) == ["done"] * 3
    # Its own folder is ours: it can put no link where we write.
    folders = (nats, Path("/"), Path("/tmp"))
    assert "done" not in tried(up.pid("nats"), *(("write", each) for each in folders))


async def test_of_the_services_the_worker_alone_reaches_docker(up):
    reached = {name: tried(up.pid(name), ("connect", ENGINE)) for name in (*NAMES, "worker")}
    assert reached.pop("worker") == ["done"]
    assert "done" not in {each for answers in reached.values() for each in answers}


async def printed(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def shown(pid: int) -> bytes:
    """What /proc tells of a process's environment and command line."""
    return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_no_password_is_in_an_environment_that_proc_shows(up):
    passwords = up.stack.log.secrets
    for name in (*NAMES, "worker"):
        told = shown(up.pid(name))
        assert b"SANDSTREAM_NATS_PASSWORD=" not in told, name
        assert not [user for user, one in passwords.items() if one.encode() in told], name


async def test_no_password_is_in_what_docker_tells_of_a_container(up):
    names = containers(up.state)
    assert any(name.endswith("-builder") for name in names)
    told = await printed("docker", "inspect", *names)
    assert not [user for user, one in up.stack.log.secrets.items() if one in told]
    (builder,) = (one for one in json.loads(told) if one["Name"].endswith("-builder"))
    assert "SANDSTREAM_NATS_USER=builder" in builder["Config"]["Env"]
    assert not shown(builder["State"]["Pid"]).count(up.stack.log.secrets["builder"].encode())


async def test_a_password_is_in_a_file_of_its_reader_that_nobody_else_can_read(up):
    readers = {name: confined.uid(up.state, name) for name in ("api", "projector")}
    files = {up.state.passwords / name: readers.get(name, 0) for name in PASSWORDS}
    files[up.state.folder / "builder" / "nats-password"] = BUILDER_UID
    files[up.state.nats / "nats.conf"] = confined.uid(up.state, "nats")
    files[up.state.secrets] = 0
    for file, owner in files.items():
        found = file.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (owner, 0o600), file


async def test_env_names_a_file_with_which_a_program_connects(up, monkeypatch):
    lines = access.lines(up.state, "auditor")
    assert not [user for user, one in up.stack.log.secrets.items() if one in lines]
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD", "of an earlier `sandstream env`")
    out = await printed("sh", "-c", f"{lines}\nenv --null")
    told = dict(one.split("=", 1) for one in out.split("\0") if one)
    assert "SANDSTREAM_NATS_PASSWORD" not in told
    monkeypatch.delenv("SANDSTREAM_NATS_PASSWORD")
    for name in ("URL", "USER", "PASSWORD_FILE"):
        monkeypatch.setenv(f"SANDSTREAM_NATS_{name}", told[f"SANDSTREAM_NATS_{name}"])
    async with connect(NatsSettings(), name="env") as client:
        assert client.is_connected


async def test_every_service_may_have_as_many_files_as_the_host_lets_it(up):
    for name in (*NAMES, "worker"):
        (line,) = (
            line
            for line in Path(f"/proc/{up.pid(name)}/limits").read_text().splitlines()
            if line.startswith("Max open files")
        )
        soft, hard = line.split()[3:5]
        assert soft == hard != "1024", name
