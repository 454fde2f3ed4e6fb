"""Every limit of compile and of run, met exactly and passed by the least that can be told apart.

Just under is `ok`; just over is the outcome of that limit. Sizes and counts are exact: the last
byte, file or thread that fits, and the first that does not. Clocks leave the room that starting
a shell takes on a busy machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from init.frames import Case
from init.limits import LIMITS, MIB, Stage
from init.outcome import Outcome

pytestmark = pytest.mark.integration

_PAGE = 4096
_FLOOD = "head -c $1 /dev/zero"


def _python(text: str) -> str:
    return f"exec python3 -c '{text}' $1"


@dataclass(frozen=True)
class Row:
    """A program that takes an amount as its argument, and the amounts around one limit."""

    limit: str
    value: float
    program: str
    under: float
    over: float
    outcome: Outcome
    stage: Stage | None = None  # where the amounts differ between the stages


ROWS = (
    Row("wall_seconds", 6, "sleep $1", 2, 6, Outcome.WALL_TIME_LIMIT),
    Row(
        "cpu_seconds", 1,
        _python("import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"),
        0.75, 1.01, Outcome.CPU_TIME_LIMIT,
    ),
    # the shell, dd, nsjail and the reaper are the rest
    Row(
        "memory_bytes", 64 * MIB, "exec dd if=/dev/zero of=/dev/null count=1 bs=$1",
        60 * MIB, 64 * MIB, Outcome.MEMORY_LIMIT,
    ),
    # the main thread is the eighth
    Row(
        "processes", 8,
        _python(
            "import sys, threading\nheld = threading.Event()\nfor i in range(int(sys.argv[1])):"
            " threading.Thread(target=held.wait, daemon=True).start()"
        ),
        7, 8, Outcome.PROCESS_LIMIT,
    ),
    Row("stdout_bytes", 100_000, _FLOOD, 100_000, 100_001, Outcome.STDOUT_LIMIT),
    Row("stderr_bytes", 100_000, f"{_FLOOD} >&2", 100_000, 100_001, Outcome.STDERR_LIMIT),
    Row("file_size_bytes", 100_000, f"{_FLOOD} >f", 100_000, 100_001, Outcome.FILE_SIZE_LIMIT),
    # Python ignores SIGXFSZ, and its programs get an error from the write instead
    Row(
        "file_size_bytes", 100_000,
        _python('import sys\nwith open("f", "wb") as f: f.write(bytes(int(sys.argv[1])))'),
        100_000, 100_001, Outcome.FILE_SIZE_LIMIT,
    ),
    # no outcome of its own: the program decides what a refused open means
    Row(
        "open_files", 32,
        _python('import sys\nheld = [open("/dev/null") for _ in range(int(sys.argv[1]))]'),
        32 - 3, 32 - 3 + 1, Outcome.NONZERO_EXIT,
    ),
    # what compile is given counts: two scripts of a page each
    Row(
        "disk_bytes", 4 * MIB, f"{_FLOOD} >f",
        4 * MIB - 2 * _PAGE, 4 * MIB - 2 * _PAGE + 1, Outcome.DISK_LIMIT, Stage.COMPILE,
    ),
    Row("disk_bytes", 4 * MIB, f"{_FLOOD} >f", 4 * MIB, 4 * MIB + 1, Outcome.DISK_LIMIT, Stage.RUN),
)  # fmt: skip


def rows(stage: Stage) -> list:
    return [pytest.param(row, id=row.limit) for row in ROWS if row.stage in {None, stage}]


def limits(row: Row) -> dict[str, float]:
    """The row's own; the clock is no other row's business, however busy this machine is."""
    return {"wall_seconds": 60, row.limit: row.value}


def check(row: Row, under, over) -> None:
    assert under.outcome == Outcome.OK, under
    assert over.outcome == row.outcome, over
    if row.outcome is not Outcome.NONZERO_EXIT:
        assert f"the limit is {row.value:g}" in over.message.replace(" bytes", "") or (
            f"the limit is {row.value}" in over.message
        )


@pytest.mark.parametrize("row", rows(Stage.RUN))
def test_run_just_under_is_ok_and_just_over_is_told(sandbox, row):
    cases = [Case(args=(str(amount),)) for amount in (row.under, row.over)]
    check(row, *sandbox.run(row.program, *cases, **limits(row)).runs)


@pytest.mark.parametrize("row", rows(Stage.COMPILE))
def test_compile_just_under_is_ok_and_just_over_is_told(sandbox, row):
    under, over = (
        sandbox.run(
            "echo ran",
            compile_script=f"set -- {amount}\n{row.program}",
            compile_limits=limits(row),
        )
        for amount in (row.under, row.over)
    )
    check(row, under.compiled, over.compiled)
    # the limits of compile are not those of the run, and after a failure there is none
    assert [run.stdout for run in under.runs] == [b"ran\n"]
    assert over.runs == []


@pytest.mark.parametrize("stage", [Stage.COMPILE, Stage.RUN])
def test_no_limit_is_missing_from_the_table(stage):
    assert {row.limit for row in ROWS if row.stage in {None, stage}} == {
        limit.name for limit in LIMITS
    }
