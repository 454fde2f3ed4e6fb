"""From deps-queued to deps-built, on real Nix."""

from __future__ import annotations

import asyncio
import shutil
import uuid

import pytest
import pytest_asyncio

from tests.builder.boxes import boxes, building, jobs, pool_of
from tests.builder.conftest import STATE, running, stack_of
from tests.worker.conftest import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture
def builder(shared):
    """One for all; who ends it has `mortal`."""
    return shared


@pytest_asyncio.fixture
async def mortal(nats, images):
    stack = stack_of(nats, images)
    async with running(nats, stack) as made:
        yield made
    shutil.rmtree(stack.own, ignore_errors=True)


def shell(more="", packages="pkgs.python3"):
    """A shell that no earlier test has built."""
    return (
        "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell "
        f'{{ packages = [ {packages} ]; ONCE = "{uuid.uuid4().hex}"; {more} }}'
    )


def derivation(script):
    """An input of the shell that runs `script` when it is built."""
    return f"x = pkgs.runCommand \"x-{uuid.uuid4().hex}\" {{}} ''{script}'';"


def stderr(state):
    return state.dependencies.stderr.inline().decode()


async def test_a_shell_is_built_once_and_then_a_hit(builder):
    text = shell()
    first = await builder.build(text)
    assert (first.how, first.dependencies.outcome) == ("built", "ok"), first.dependencies
    assert first.environment.path.endswith(f"-environment-{first.environment.id}")
    assert first.environment.path not in first.environment.closure
    assert any("-python3-" in path for path in first.environment.closure)
    assert list(first.environment.closure) == sorted(first.environment.closure)
    root = STATE / "nix/var/nix/gcroots/sandstream" / first.environment.id
    assert str(root.readlink()) == first.environment.path
    second = await builder.build(text, files={"main.py": "anything else"})
    assert (second.how, second.dependencies.outcome) == ("hit", "ok")
    assert second.environment == first.environment


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [", "syntax error"),
        ("{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.nope ]; }", "nope"),
        ("{ pkgs ? import <nixpkgs> {} }: pkgs.python3", "pkgs.mkShell"),
        ("1", "inputDerivation"),
        ('throw "no such luck"', "no such luck"),
    ],
)
async def test_what_does_not_evaluate_is_a_result_with_nixs_words(builder, text, words):
    state = await builder.build(text)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert state.environment is None
    assert words in stderr(state)


async def test_a_build_that_fails_is_a_result_with_its_log(builder):
    state = await builder.build(shell(derivation("echo it went wrong; exit 3")))
    assert state.dependencies.outcome == "nonzero-exit"
    assert "it went wrong" in stderr(state)


async def test_an_endless_evaluation_ends_with_the_wall_time_limit(builder):
    grow = "operator = x: [ { key = x.key + 1; } ];"
    endless = f"builtins.genericClosure {{ startSet = [ {{ key = 0; }} ]; {grow} }}"
    text = f'builtins.trace "here we go" (builtins.seq ({endless}) 1)'
    state = await builder.build(text, wall_seconds=6)
    assert state.dependencies.outcome == "wall-time-limit"
    assert 6 <= state.dependencies.wall_seconds < 40
    assert "here we go" in stderr(state)


async def test_an_endless_build_ends_with_the_cpu_time_limit(builder):
    state = await builder.build(shell(derivation("while :; do :; done")), cpu_seconds=2)
    assert state.dependencies.outcome == "cpu-time-limit", state.dependencies


async def test_an_evaluation_that_eats_memory_meets_the_limit(builder):
    text = 'builtins.foldl\' (s: _: s + s) "0123456789" (builtins.genList (x: x) 40)'
    state = await builder.build(text, memory_bytes=200_000_000)
    assert state.dependencies.outcome == "memory-limit", state.dependencies


async def test_a_build_that_eats_memory_meets_the_limit(builder):
    eat = "x=0123456789abcdef; while :; do x=$x$x; done"
    id_ = await builder.submit(shell(derivation(eat)), memory_bytes=100_000_000)
    state = await builder.built(id_, within=180)
    assert state.dependencies.outcome == "memory-limit", state.dependencies


async def test_a_build_that_forks_without_end_meets_the_limit(builder):
    bomb = "f() { f | f & }; f; sleep 2; exit 1"
    state = await builder.build(shell(derivation(bomb)), processes=60, cpu_seconds=20)
    assert state.dependencies.outcome == "process-limit", state.dependencies


async def test_a_build_that_fills_the_disk_meets_the_limit(builder):
    eat = "head -c 300000000 /dev/zero > $out; sleep 10"
    state = await builder.build(shell(derivation(eat)), disk_bytes=100_000_000)
    assert state.dependencies.outcome == "disk-limit", state.dependencies


async def test_nothing_is_left_of_a_job_that_failed(builder):
    hold = shell(derivation("head -c 30000000 /dev/zero > $TMPDIR/mine; sleep 4; exit 1"))
    id_ = await builder.submit(hold)
    pool = pool_of(builder)

    def large():
        return [
            folder
            for folder in jobs(builder)
            if any(file.stat().st_size == 30_000_000 for file in folder.glob("builds/**/mine"))
        ]

    (folder,) = await until(large, 60)
    container = boxes(pool)[folder.name]
    before = set((STATE / "nix/store").iterdir())
    state = await builder.built(id_)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    await until(lambda: not folder.exists(), 60)
    await until(lambda: container not in boxes(pool).values(), 60)
    new = {path.name for path in set((STATE / "nix/store").iterdir()) - before}
    assert not [name for name in new if name.endswith("-nix-shell-inputs")]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/var/lib/sandstream", "/run/builder", "/nix/var/nix/db", "/proc/1/environ"],
)
async def test_an_evaluation_can_not_read(builder, path):
    read = f"x = builtins.readFile {path};"
    state = await builder.build(shell(read))
    assert state.dependencies.outcome == "nonzero-exit"
    assert "forbidden in restricted mode" in stderr(state) or "No such file" in stderr(state)


NOTHING = ("Connection refused", "Network is unreachable", "connect to server", "not connect")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        # a fixed-output derivation has the network of its daemon
        (
            (
                'x = pkgs.runCommand "x" { outputHashMode = "flat"; outputHashAlgo = "sha256"; '
                'outputHash = "%(zeros)s"; } "exec 3<>/dev/tcp/127.0.0.1/%(port)d";'
            ),
            NOTHING,
        ),
        # so has what Nix itself fetches there
        ('x = import <nix/fetchurl.nix> { url = "%(url)s"; sha256 = "%(zeros)s"; };', NOTHING),
        ('x = pkgs.runCommand "%(zeros)s" {} "exec 3<>/dev/tcp/127.0.0.1/%(port)d";', NOTHING),
        ('x = builtins.readFile (builtins.fetchurl "%(url)s");', ("forbidden in restricted mode",)),
    ],
    ids=["fixed output", "fetched by Nix", "build", "evaluation"],
)
async def test_nothing_of_a_shell_reaches_the_hosts_network(builder, way, words):
    seen = []
    server = await asyncio.start_server(lambda r, w: seen.append(w.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (await asyncio.open_connection("127.0.0.1", port))[1].close()  # it does listen
    await until(lambda: seen and not seen.clear())
    names = {"port": port, "url": f"http://127.0.0.1:{port}/x", "zeros": "0" * 64}
    state = await builder.build(shell(way % names))
    server.close()
    await server.wait_closed()
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert any(word in stderr(state) for word in words), stderr(state)
    assert seen == []


async def test_ten_submissions_with_one_environment_are_one_build(builder):
    text = shell(derivation("sleep 6; echo x > $out"))
    ids = [await builder.submit(text) for _ in range(10)]
    states = await asyncio.gather(*(builder.built(id_) for id_ in ids))
    assert sorted(state.how for state in states) == ["built"] + ["joined"] * 9
    assert {state.dependencies.outcome for state in states} == {"ok"}
    assert len({state.environment.path for state in states}) == 1


async def test_hits_do_not_wait_behind_builds(builder):
    known = shell()
    await builder.build(known)
    slow = [await builder.submit(shell(derivation("sleep 6; echo > $out"))) for _ in range(3)]
    hit = await builder.built(await builder.submit(known), within=4)
    assert hit.how == "hit"
    for id_ in slow:
        await builder.cancel(id_)


async def test_one_submissions_deadline_does_not_fail_the_others(builder):
    text = shell(derivation("sleep 4; echo x > $out"))
    patient = await builder.submit(text)
    hurried = await builder.submit(text, wall_seconds=1)
    states = [await builder.built(patient), await builder.built(hurried)]
    assert [state.dependencies.outcome for state in states] == ["ok", "wall-time-limit"]


async def test_a_cancelled_build_is_stopped_and_nothing_is_said(builder):
    pool = pool_of(builder)
    id_ = await builder.submit(shell(derivation("sleep 1000")))
    name = await until(lambda: building(pool, "sleep"), 60)
    await builder.cancel(id_)
    await until(lambda: name not in boxes(pool), 60)
    assert (await builder.log.state(id_)).dependencies is None


async def test_an_import_from_derivation_works(builder):
    ifd = f'x = import (pkgs.writeText "n-{uuid.uuid4().hex}.nix" "1 + 1");'
    state = await builder.build(shell(ifd))
    assert state.dependencies.outcome == "ok", state.dependencies


async def test_files_below_nix_are_the_shells_to_read(builder):
    text = shell("x = import ./nix/more.nix;")
    state = await builder.build(text, files={"nix/more.nix": '"it works"'})
    assert state.dependencies.outcome == "ok", state.dependencies
    assert "it works" in state.environment.profile.inline().decode()


@pytest.mark.asyncio(loop_scope="function")
async def test_a_killed_builders_job_is_done_by_the_next(mortal):
    """Its container and its pool may die, too: `test_pools.py`."""
    id_ = await mortal.submit(shell(derivation("sleep 2; echo x > $out")))
    await until(lambda: building(pool_of(mortal), "sleep"), 60)
    await mortal.pair.builder.kill()
    async with mortal.restart() as again:
        state = await again.built(id_)
    assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies


async def test_a_limit_too_low_to_begin_with_is_a_result(builder):
    state = await builder.build(shell(), memory_bytes=1_000_000)
    assert state.dependencies.outcome == "memory-limit", state.dependencies


@pytest.mark.parametrize(
    ("limits", "outcomes"),
    [
        ({"memory_bytes": 4096}, {"memory-limit"}),
        ({"processes": 1}, {"process-limit"}),
        ({"open_files": 3}, {"nonzero-exit"}),
        ({"file_size_bytes": 1}, {"file-size-limit"}),
        ({"cpu_seconds": 0.001}, {"cpu-time-limit"}),
        ({"wall_seconds": 0.001}, {"wall-time-limit"}),
        ({"disk_bytes": 1}, {"disk-limit", "ok"}),  # measured, so a quick one may pass
        ({"stderr_bytes": 1}, {"stderr-limit"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_absurdly_low_limits_are_a_result_at_once(builder, limits, outcomes):
    text = shell()
    state = await builder.build(text, **limits)
    assert state.dependencies.outcome in outcomes, state.dependencies
    again = await builder.build(text)  # nothing was kept for it
    assert (again.how, again.dependencies.outcome) == ("built", "ok"), again.dependencies


async def test_an_evaluation_and_its_builds_share_one_limit_of_cpu_time(builder):
    """Neither half alone would meet it within this time."""
    count = "builtins.foldl' (a: b: a + b) 0 (builtins.genList (n: n) 12000000)"
    spin = derivation("while :; do :; done")
    text = shell(f"SUM = toString ({count}); {spin}")
    state = await builder.build(text, cpu_seconds=6)
    assert state.dependencies.outcome == "cpu-time-limit", state.dependencies
    assert state.dependencies.cpu_seconds < 8


async def test_a_failure_is_not_kept(builder):
    text = shell(derivation("sleep 2; echo > $out"))
    assert (await builder.build(text, wall_seconds=1)).dependencies.outcome == "wall-time-limit"
    again = await builder.build(text)
    assert (again.how, again.dependencies.outcome) == ("built", "ok")
