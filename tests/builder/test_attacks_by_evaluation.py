"""Attacks on what others run by way of evaluations and limits; see `test_attacks_on_others.py`."""

from __future__ import annotations

import pytest

from tests.builder.world import fresh, path_of, printed, shell
from tests.steps import nix_string

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
FORBIDDEN = ("is forbidden in restricted mode",)
#: Nix's words for a path that is not there.
GONE = ("is not valid", "does not exist", "no substituter")


async def test_no_evaluation_reads_or_uses_an_environment_of_others(world):
    """Neither the environment's path, nor the paths that it holds at their own names."""
    mark = fresh()
    victim = await world.run(shell(mark))
    tool = path_of(victim, f"tool-{mark}")
    inside = f"{victim.environment.path}/{tool.split('/')[3]}"
    trusted = next(path for path in victim.environment.closure if "-python3-" in path)
    uses = [
        (f'builtins.storePath "{tool}"', GONE),
        (f'builtins.storePath "{victim.environment.path}"', GONE),
        (f'builtins.readFile "{tool}/bin/tool"', FORBIDDEN),
        (f'builtins.readFile "{inside}/bin/tool"', FORBIDDEN),
        (f'builtins.readFile (pkgs.runCommand "l" {{}} "ln -s {inside}/bin/tool $out")', FORBIDDEN),
    ]
    ids = [await world.submit(shell(fresh(), f"y = {use};")) for use, _ in uses]
    for id_, (use, why) in zip(ids, uses, strict=True):
        state = await world.ended(id_)
        assert state.dependencies.outcome == "nonzero-exit", (use, state.dependencies)
        words = state.dependencies.stderr.inline().decode()
        assert any(one in words for one in why), (use, words)
        assert "GOOD" not in words
    control = await world.run(shell(fresh(), f'y = builtins.storePath "{trusted}";'))
    assert printed(control) == "GOOD\n"
    assert await world.prints(shell(mark)) == "GOOD\n"


def imported(mark, more="", *, word="import words"):
    """A shell whose evaluation reads what it builds: a file that says which word to print."""
    return f"""{{ pkgs ? import <nixpkgs> {{}} }}: let
  words = pkgs.writeText "words-{mark}.nix" ''"GOOD"'';
in pkgs.mkShell {{ WORD = {word}; {more} }}"""


async def test_an_import_from_derivation_that_others_share_is_not_changed(world):
    mark = fresh()
    run = "echo $WORD"
    victim = await world.run(imported(mark), run)
    assert (printed(victim), victim.how) == ("GOOD\n", "built")
    attack = "chmod u+w ${words}; echo '\"EVIL\"' > ${words}; echo > $out"
    x = f"pkgs.runCommand \"a-{mark}\" {{}} ''{attack}''"
    text = imported(mark, word=f"builtins.seq (builtins.readFile ({x})) (import words)")
    attacker = await world.run(text, run)
    assert printed(attacker) == "EVIL\n"
    again = await world.run(imported(mark), run)
    assert (printed(again), again.how) == ("GOOD\n", "hit")
    assert await world.prints(imported(mark, 'ONCE = "later";'), run) == "GOOD\n"
    uncached = await world.run(imported(mark), run, cache=False)
    assert (printed(uncached), uncached.how) == ("GOOD\n", "in-container")


def crippled(mark, script, forks=0):
    """A shell whose tool is what a build makes that goes on after it was refused something."""
    return (
        f'{{ pkgs ? import <nixpkgs> {{}} }}: let tool = pkgs.runCommand "tool-{mark}" '
        f"{{ forks = {nix_string(FORKS % forks)}; }} ''mkdir -p $out; {script}''; in "
        "pkgs.mkShell { packages = [ pkgs.python3 ]; TOOL = tool; }"
    )


FORKS = (
    "import os, time; made = 0\n"
    "try:\n"
    "    for n in range(%d):\n"
    "        if os.fork() == 0: time.sleep(3); os._exit(0)\n"
    "        made += 1\n"
    "except OSError: pass\n"
    "print(made)"
)


MANY = '${pkgs.python3}/bin/python3 -c "$forks" > $out/n || true'


@pytest.mark.parametrize(
    ("script", "run", "limits", "whole"),
    [
        (
            "head -c 9000000 /dev/zero > $out/n || true", "stat -c %s $TOOL/n",
            {"file_size_bytes": 5_000_000}, 9_000_000,
        ),
        (MANY, "cat $TOOL/n", {"processes": 16}, 60),
    ],
    ids=["file size", "processes"],
)  # fmt: skip
async def test_what_a_low_limit_has_crippled_serves_nobody_else(world, script, run, limits, whole):
    text = crippled(fresh(), script, 60)
    poor = await world.run(text, run, **limits)
    assert 0 < int(printed(poor)) < whole  # it "succeeded"
    rich = await world.run(text, run)
    assert (int(printed(rich)), rich.how) == (whole, "built")
    again = await world.run(text, run)
    assert (int(printed(again)), again.how) == (whole, "hit")


async def test_what_met_a_refused_fork_under_the_usual_limits_is_not_kept(world):
    text = crippled(fresh(), MANY, 300)
    states = [await world.run(text, "cat $TOOL/n") for _ in range(2)]
    assert [state.how for state in states] == ["built", "built"]
    assert all(0 < int(printed(state)) < 300 for state in states)
    rich = await world.run(text, "cat $TOOL/n", processes=1000)
    assert (printed(rich), rich.how) == ("300\n", "built")
