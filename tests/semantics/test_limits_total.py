"""What compile and all runs may use together: the last byte that fits, and the first that does not.

Real containers. Clocks leave the room that starting a shell takes on a busy machine.
"""

from __future__ import annotations

import pytest

from init.frames import Case
from init.outcome import Outcome

pytestmark = pytest.mark.integration

_NOT_RUN = "not run: "


def amounts(*bytes_: int) -> list[Case]:
    return [Case(args=(str(number),)) for number in bytes_]


FLOOD = "head -c $1 /dev/zero"


@pytest.mark.parametrize("at_once", [1, 4])
def test_output_of_all_runs_is_cut_at_the_total(sandbox, at_once):
    runs = sandbox.run(
        FLOOD, *amounts(60_000, 40_001, 1, 0), at_once=at_once, total={"output_bytes": 100_000}
    ).runs
    assert [len(run.stdout) for run in runs] == [60_000, 40_000, 0, 0]
    assert [run.outcome for run in runs] == [Outcome.OK, *[Outcome.STDOUT_LIMIT] * 3]
    assert "limits.total.output_bytes" in runs[1].message
    assert not runs[1].message.startswith(_NOT_RUN)
    assert all(run.message.startswith(_NOT_RUN) for run in runs[2:])
    assert all(run.exit_code is None for run in runs[2:])


def test_output_that_fits_to_the_byte_is_ok(sandbox):
    runs = sandbox.run(FLOOD, *amounts(60_000, 40_000, 0), total={"output_bytes": 100_000}).runs
    assert [run.outcome for run in runs] == [Outcome.OK] * 3


def test_flood_is_stopped_at_what_is_left_of_the_total(sandbox):
    """Not read to its own, larger limit first: the program is ended."""
    runs = sandbox.run(
        "cat /dev/zero", Case(), Case(), stdout_bytes=16 << 20, total={"output_bytes": 100_000}
    ).runs
    assert len(runs[0].stdout) == 100_000
    assert runs[0].stdout_total < 1 << 20
    assert runs[1].message.startswith(_NOT_RUN)


def test_compile_and_runs_share_the_output(sandbox):
    answer = sandbox.run(
        f"{FLOOD} >&2",
        *amounts(30_000, 1),
        compile_script="head -c 70000 /dev/zero",
        total={"output_bytes": 100_000},
    )
    assert answer.compiled.outcome is Outcome.OK
    assert [run.outcome for run in answer.runs] == [Outcome.OK, Outcome.STDERR_LIMIT]
    assert answer.runs[1].stderr == b""


def test_compile_beyond_the_total_is_cut_and_nothing_runs(sandbox):
    answer = sandbox.run(
        "echo ran", compile_script="head -c 70000 /dev/zero", total={"output_bytes": 50_000}
    )
    assert answer.compiled.outcome is Outcome.STDOUT_LIMIT
    assert len(answer.compiled.stdout) == 50_000
    assert answer.runs == []


@pytest.mark.parametrize("at_once", [1, 2])
def test_clock_of_all_runs_ends_one_and_the_others_do_not_begin(sandbox, at_once):
    cases = [Case(args=(seconds,)) for seconds in ("0", "60", "60", "0", "0", "0")]
    runs = sandbox.run("sleep $1; echo x", *cases, at_once=at_once, total={"wall_seconds": 8}).runs
    assert [run.outcome for run in runs] == [Outcome.OK, *[Outcome.WALL_TIME_LIMIT] * 5]
    begun = 1 + at_once
    assert all("limits.total.wall_seconds" in run.message for run in runs[1:])
    assert all(not run.message.startswith(_NOT_RUN) for run in runs[1:begun])
    assert all(run.message.startswith(_NOT_RUN) for run in runs[begun:])
    assert all(0 < run.wall_seconds < 30 for run in runs[1:begun])


def test_clock_counts_what_compile_took(sandbox):
    answer = sandbox.run(
        "sleep 60", Case(), Case(), compile_script="sleep 3", total={"wall_seconds": 8}
    )
    assert answer.compiled.outcome is Outcome.OK
    first, second = answer.runs
    assert first.outcome is Outcome.WALL_TIME_LIMIT
    assert first.wall_seconds <= 5
    assert second.message.startswith(_NOT_RUN)
