"""Every limit of the stage that builds a shell, met and passed, with a real Nix and a real store.

Nix itself takes about 0.2 s of CPU time, 10 MB and ten processes, so the amounts here are not
exact to one, except the size of a file.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from init.limits import LIMITS, MIB
from init.outcome import Outcome
from tests.builder.test_uncached import dependencies

pytestmark = pytest.mark.integration

#: A shell with a build in it, which takes its amount in `$n` and can run Python.
_SHELL = """{ pkgs ? import <nixpkgs> {} }:
pkgs.mkShell {
  packages = [ pkgs.python3 ];
  built = pkgs.runCommand "amount-%s" { n = "%s"; py = "${pkgs.python3}/bin/python3"; } ''
    %s
    touch $out
  '';
}
"""


def _python(text: str) -> str:
    return f'$py -c "import sys, threading, time\n{text}" $n'


@dataclass(frozen=True)
class Row:
    limit: str
    value: float
    build: str
    under: float
    over: float
    outcome: Outcome


ROWS = (
    Row("wall_seconds", 6, "sleep $n", 1, 6, Outcome.WALL_TIME_LIMIT),
    Row(
        "cpu_seconds", 2, _python("while time.process_time() < float(sys.argv[1]): pass"),
        1.4, 2.01, Outcome.CPU_TIME_LIMIT,
    ),
    Row(
        "memory_bytes", 128 * MIB, "dd if=/dev/zero of=/dev/null count=1 bs=$n",
        108 * MIB, 128 * MIB, Outcome.MEMORY_LIMIT,
    ),
    Row(
        "processes", 40,
        _python(
            "held = threading.Event()\nfor i in range(int(sys.argv[1])):"
            " threading.Thread(target=held.wait, daemon=True).start()"
        ),
        24, 40, Outcome.PROCESS_LIMIT,
    ),
    Row(
        "stderr_bytes", 50_000, "head -c $n /dev/zero | tr '\\0' x",
        45_000, 50_000, Outcome.STDERR_LIMIT,
    ),
    Row(
        "file_size_bytes", 60_000_000, "head -c $n /dev/zero >$out",
        60_000_000, 60_000_001, Outcome.FILE_SIZE_LIMIT,
    ),
    Row(
        "open_files", 256, _python("held = [open('/dev/null') for _ in range(int(sys.argv[1]))]"),
        253, 254, Outcome.NONZERO_EXIT,
    ),
    # measured once a second, so the build has to last
    Row(
        "disk_bytes", 20_000_000, "head -c $n /dev/zero >$out; sleep 2.5",
        18_000_000, 20_500_000, Outcome.DISK_LIMIT,
    ),
)  # fmt: skip


@pytest.mark.parametrize("row", [pytest.param(row, id=row.limit) for row in ROWS])
def test_just_under_is_built_and_just_over_is_told(uncached, row):
    def report(amount):
        shell = _SHELL % (uuid.uuid4().hex, amount, row.build)
        return dependencies(uncached.submit(shell, run="true", **{row.limit: row.value}))

    under, over = report(row.under), report(row.over)
    assert under.report.outcome == Outcome.OK, under.report
    assert under.environment is not None
    assert over.report.outcome == row.outcome, over.report
    assert over.environment is None


async def test_a_builder_tells_the_same_of_each(builder):
    """It has its own way to hold each limit. All at once, so that the clock is left out here:
    tests/builder/test_shells.py has it."""
    rows = [row for row in ROWS if row.limit != "wall_seconds"]
    ids = {}
    for row in rows:
        for amount in (row.under, row.over):
            shell = _SHELL % (uuid.uuid4().hex, amount, row.build)
            ids[row.limit, amount] = await builder.submit(shell, **{row.limit: row.value})
    told = {key: await builder.built(id_, within=240) for key, id_ in ids.items()}
    for row in rows:
        under, over = told[row.limit, row.under], told[row.limit, row.over]
        assert under.dependencies.outcome == Outcome.OK, (row, under.dependencies)
        assert under.environment is not None
        assert over.dependencies.outcome == row.outcome, (row, over.dependencies)
        assert over.environment is None


async def test_small_limit_of_a_files_size_is_a_builders_too(builder):
    """It is below what the daemon itself writes; and a file that is removed is in no output."""
    builds = {
        "head -c 2000000 /dev/zero >$out": Outcome.OK,
        "sleep 0.5; head -c 2000001 /dev/zero >$out": Outcome.FILE_SIZE_LIMIT,
        "head -c 2000001 /dev/zero >$out": Outcome.FILE_SIZE_LIMIT,  # quicker than any look
        # the shell goes on after the child that was killed, and says 3
        "sleep 0.5; head -c 2000001 /dev/zero >x || exit 3; rm x": Outcome.NONZERO_EXIT,
    }
    ids = [
        await builder.submit(_SHELL % (uuid.uuid4().hex, 0, build), file_size_bytes=2_000_000)
        for build in builds
    ]
    told = [(await builder.built(id_, within=120)).dependencies for id_ in ids]
    assert [one.outcome for one in told] == list(builds.values()), told
    assert "builder failed with exit code 3" in told[-1].stderr.inline().decode()


def test_no_limit_but_that_of_stdout_is_missing():
    # nothing of a build is its stdout: Nix shows it on stderr
    assert {row.limit for row in ROWS} == {limit.name for limit in LIMITS} - {"stdout_bytes"}


def test_words_of_a_shell_that_are_endless_end_with_its_limit(uncached):
    shell = (
        "{ pkgs ? import <nixpkgs> {} }:\nlet loop = n: builtins.trace n (loop (n + 1)); in loop 0"
    )
    report = dependencies(uncached.submit(shell, stderr_bytes=10_000)).report
    assert (report.outcome, len(report.stderr)) == (Outcome.STDERR_LIMIT, 10_000)


def test_evaluation_that_never_ends_meets_its_clock(uncached):
    shell = "{ pkgs ? import <nixpkgs> {} }:\nlet f = n: if n < 0 then n else f (n + 1); in f 0"
    report = dependencies(uncached.submit(shell, cpu_seconds=1)).report
    # an endless recursion of Nix may meet its own bound first
    assert report.outcome in {Outcome.CPU_TIME_LIMIT, Outcome.NONZERO_EXIT}
    assert report.cpu_seconds < 1.5
