"""What the evaluator may ask of a job's daemon, tried from its container with a real client."""

from __future__ import annotations

import asyncio
import subprocess
import uuid

import pytest

from tests.builder.conftest import STATE
from tests.builder.test_shells import derivation, shell

EXPORT = "mkdir -p /tmp/h; HOME=/tmp/h NIX_REMOTE=local nix-store --export /nix/store/%s"
pytestmark = pytest.mark.integration


def inside(container, script, *, stdin=b""):
    """Run a script in a container as its own user; stdout and stderr together."""
    argv = ["docker", "exec", "-i", container.name, "/bin/sh", "-c", script]
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
async def client(builder):
    """Runs a script as the evaluator, with a live job's daemon at NIX_REMOTE."""
    id_ = await builder.submit(shell(derivation("sleep 100")))
    jobs = builder.jobs
    for _ in range(200):
        if any(jobs.glob("*/socket")):
            break
        await asyncio.sleep(0.05)
    (job,) = jobs.iterdir()
    socket = f"unix:///run/builder/jobs/{job.name}/socket"
    remote = f"mkdir -p /tmp/h; export HOME=/tmp/h NIX_REMOTE={socket}; "
    yield lambda script, **more: inside(builder.pair.evaluator, remote + script, **more)
    await builder.cancel(id_)


async def test_it_can_not_switch_off_the_sandbox_or_add_a_substituter(client):
    name = uuid.uuid4().hex
    expression = (
        f'derivation {{ name = "{name}"; system = "x86_64-linux"; builder = "/bin/sh"; '
        'args = [ "-c" "exec < /etc/nix/nix.conf" ]; }'
    )
    options = (
        "--option sandbox false --option substituters http://127.0.0.1:1 --option build-hook /x"
    )
    code, words = client(f"nix-build --no-out-link {options} -E '{expression}'")
    assert code != 0
    assert b"not a trusted user" in words
    assert b"nix.conf" in words  # there is no such file where the build looked


async def test_it_can_not_import_a_path_that_nobody_signed(client, builder):
    path = next((STATE / "nix/store").glob("*-gzip-*/")).name
    _, nar = inside(builder.pair.builder, EXPORT % path)
    fake = ("0" * 31 + "1").encode()
    code, words = client("nix-store --import", stdin=nar.replace(path[:32].encode(), fake))
    assert code != 0
    assert b"signature" in words, words
    assert not (STATE / "nix/store" / (fake.decode() + path[32:])).exists()


async def test_it_can_not_collect_garbage_or_write_to_the_store(client):
    before = set((STATE / "nix/store").glob("*-gzip-*/"))
    code, words = client("timeout 3 nix-store --gc")
    assert code == 124, words
    assert b"lock" in words
    assert set((STATE / "nix/store").glob("*-gzip-*/")) == before
    code, words = client("touch /nix/store/mine")
    assert code != 0, words


async def test_no_container_of_ours_has_any_capability(builder):
    for container in (builder.pair.builder, builder.pair.evaluator):
        _, words = inside(container, "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/1/status")
        facts = dict(line.split(":", 1) for line in words.decode().splitlines())
        caps = {name: int(value, 16) for name, value in facts.items() if name.startswith("Cap")}
        assert set(caps.values()) == {0}, caps
        assert facts["NoNewPrivs"].strip() == "1"
        assert facts["Seccomp"].strip() == "2"


async def test_the_evaluator_has_no_network(builder):
    _, words = inside(builder.pair.evaluator, "cat /proc/net/dev")
    assert [line.split(":")[0].strip() for line in words.decode().splitlines()[2:]] == ["lo"]


async def test_the_evaluator_answers_nobody_but_the_builder(builder):
    """A connection of the evaluator's own uid is closed without a word."""
    script = (
        "import socket; s = socket.socket(socket.AF_UNIX); "
        "s.connect('/run/builder/evaluator/socket'); print(s.recv(1))"
    )
    code, words = inside(builder.pair.evaluator, f'python3 -c "{script}"')
    assert (code, words) == (0, b"b''\n")


async def test_the_evaluator_can_not_see_the_builders_records(builder):
    _, words = inside(builder.pair.evaluator, "ls /var/lib/sandstream /nix/var/nix/db 2>&1")
    assert b"db.sqlite" not in words
    assert b"environments" not in words
