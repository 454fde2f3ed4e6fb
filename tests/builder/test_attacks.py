"""What a shell may try against its limits and against those who wait: one attack, one test.

Against files and names: `test_attack_steps.py`. Against what others run:
`test_attacks_on_others.py`.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.builder.conftest import STATE
from tests.builder.test_shells import derivation, shell, stderr

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
STORE = STATE / "nix/store"
#: How a build ends that was refused, or met a limit; never well, and never as our fault.
LIMITS = {"wall-time-limit", "cpu-time-limit", "memory-limit", "process-limit", "disk-limit"}


@pytest.fixture
def builder(shared):
    """None of these ends it, nor may any of them harm the next."""
    return shared


async def still_works(builder):
    """Whatever was tried, the next submission is served."""
    state = await builder.build(shell())
    assert state.dependencies.outcome == "ok", state.dependencies


async def test_gigabytes_of_build_log_end_with_the_stderr_limit(builder):
    state = await builder.build(shell(derivation("yes 'a line of log' | head -c 4000000000")))
    assert state.dependencies.outcome == "stderr-limit", state.dependencies
    assert len(state.dependencies.stderr.inline() if state.dependencies.stderr.data else b"") <= (
        1024 * 1024
    )
    await still_works(builder)


async def test_a_huge_derivation_graph_meets_a_limit(builder):
    text = (
        f'let one = below: n: derivation {{ name = "n-{uuid.uuid4().hex}-${{toString n}}"; '
        'system = "x86_64-linux"; builder = "/bin/sh"; inherit below; }; '
        "in { inputDerivation = builtins.foldl' one null (builtins.genList (n: n) 10000000); }"
    )
    state = await builder.build(text, wall_seconds=6, cpu_seconds=6, memory_bytes=500_000_000)
    assert state.dependencies.outcome in LIMITS, state.dependencies
    await still_works(builder)


async def test_an_import_from_derivation_counts_against_the_same_limits(builder):
    endless = f'x = import (pkgs.runCommand "x-{uuid.uuid4().hex}" {{}} "while :; do :; done");'
    state = await builder.build(shell(endless), cpu_seconds=3)
    assert state.dependencies.outcome == "cpu-time-limit", state.dependencies
    assert state.dependencies.cpu_seconds < 6


async def test_a_sparse_output_of_ten_gigabytes_meets_a_limit(builder):
    sparse = "mkdir $out; for i in 1 2 3 4 5 6 7 8 9 10; do truncate -s 1G $out/$i; done; sleep 5"
    state = await builder.build(shell(derivation(sparse)), disk_bytes=100_000_000)
    assert state.dependencies.outcome in {"disk-limit", "file-size-limit"}, state.dependencies


async def test_a_quick_output_above_the_disk_limit_is_not_kept(builder):
    quick = shell(derivation("truncate -s 300M $out"))
    state = await builder.build(quick, disk_bytes=100_000_000)
    assert state.dependencies.outcome == "disk-limit", state.dependencies
    assert state.environment is None


@pytest.mark.parametrize("kind", ["deep calls", "deep data", "deep syntax"])
async def test_deep_recursion_is_a_result_and_kills_nobody_else(builder, kind):
    text = {
        "deep calls": "let f = x: 1 + f (x + 1); in f 0",
        "deep data": (
            "builtins.deepSeq (builtins.foldl' (a: _: [ a ]) [ ] "
            "(builtins.genList (n: n) 2000000)) 1"
        ),
        "deep syntax": "(" * 30_000 + "1" + ")" * 30_000,
    }[kind]
    state = await builder.build(text, wall_seconds=30)
    assert state.dependencies.outcome in {"nonzero-exit", "signalled", "memory-limit"}, (
        state.dependencies
    )
    await still_works(builder)


async def test_a_shell_of_half_a_megabyte_is_read(builder):
    state = await builder.build(shell() + "\n#" + "x" * 500_000)
    assert state.dependencies.outcome == "ok", state.dependencies


async def test_a_shell_that_says_that_our_daemon_has_died_is_believed_by_nobody(builder):
    """There is none beside a user's build; what Nix prints there is the shell's own business."""
    words = "Nix daemon disconnected unexpectedly (maybe it crashed?)"
    before = await builder.said("building it")
    state = await builder.build(shell(f'x = throw "{words} {uuid.uuid4().hex}";'))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert words in stderr(state)
    assert await builder.said("building it") == before + 1
    await still_works(builder)


async def test_no_file_of_an_environment_has_a_right_of_its_owners(builder):
    """A build that goes on after each refusal: whatever mode it has given its files, none is kept.

    That Nix's sandbox refuses these bits is shown by step; here they are what an output may hold.
    """
    mark = uuid.uuid4().hex
    modes = ("4755", "2755", "6777", "0755", "0666", "0000", "0200")
    script = "mkdir $out; " + "".join(
        f"echo {mode} > $out/{mark}-{mode}; chmod {mode} $out/{mark}-{mode} || true; "
        for mode in modes
    )
    state = await builder.build(shell(derivation(script)))
    assert state.dependencies.outcome == "ok", state.dependencies
    top = STORE / Path(state.environment.path).name
    found = {file.name[33:]: file.stat() for file in top.glob(f"*/{mark}-*")}
    assert found.keys() == set(modes)  # or nothing was looked at
    runs = {"0755"}
    for mode, stat in found.items():
        assert stat.st_mode & 0o7777 == (0o555 if mode in runs else 0o444), mode
        assert stat.st_uid == STORE.stat().st_uid


async def test_what_a_build_makes_beside_its_output_is_kept_by_nobody(builder):
    """It can: below the root of its own sandbox, which goes with it."""
    name = f"mine-{uuid.uuid4().hex}"
    beside = f"/nix/store/{'0' * 32}-{name}"
    script = f"echo x > {beside}; cat {beside} > $out; test -s $out; touch $out-{name}"
    state = await builder.build(shell(derivation(script)))
    assert state.dependencies.outcome == "ok", state.dependencies  # so it was written
    top = STORE / Path(state.environment.path).name
    assert [file.read_text() for file in top.glob("*-x-*")] == ["x\n"]
    assert not list(STORE.glob(f"*{name}*"))
    assert not list(top.glob(f"**/*{name}*"))
