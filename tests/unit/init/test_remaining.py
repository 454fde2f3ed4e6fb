"""What is left of the total limits: whom it ends, what it keeps, who no longer begins. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from init.frames import Report
from init.limits import Stage, TotalLimits, defaults
from init.outcome import Outcome
from init.remaining import Remaining

OWN = replace(defaults(Stage.RUN), wall_seconds=10, stdout_bytes=100, stderr_bytes=100)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def report(stdout: bytes = b"", stderr: bytes = b"", outcome: Outcome = Outcome.OK) -> Report:
    return Report(
        outcome, 0, None, 1.0, 1.0, 1, stdout=stdout, stderr=stderr,
        stdout_total=len(stdout), stderr_total=len(stderr),
    )  # fmt: skip


def remaining(*, seconds: float = 60, output: int = 150) -> tuple[Remaining, Clock]:
    clock = Clock()
    return Remaining(TotalLimits(seconds, output), clock), clock


def test_a_stage_has_its_own_limits_while_more_is_left():
    left, _ = remaining()
    assert left.within(OWN) == OWN
    assert left.refused() is None


def test_a_stage_has_what_is_left_where_that_is_less():
    left, clock = remaining(seconds=15, output=30)
    with left:
        clock.now += 8
        within = left.within(OWN)
    assert (within.wall_seconds, within.stdout_bytes, within.stderr_bytes) == (7, 30, 30)


def test_clock_stands_still_between_the_stages():
    left, clock = remaining(seconds=15)
    with left:
        clock.now += 8
    clock.now += 1000
    with left:
        assert left.within(OWN).wall_seconds == 7


def test_nothing_begins_when_the_time_is_used_up():
    left, clock = remaining(seconds=15)
    with left:
        clock.now += 15
        refused = left.refused()
    assert refused is not None
    assert refused.outcome is Outcome.WALL_TIME_LIMIT
    assert refused.message == "not run: the 15 seconds of limits.total.wall_seconds are used up"
    assert (refused.exit_code, refused.wall_seconds, refused.stdout) == (None, 0.0, b"")


def test_only_the_totals_own_clock_is_named():
    left, _ = remaining()
    ended = replace(report(outcome=Outcome.WALL_TIME_LIMIT), wall_seconds=3.0, message="its own")
    assert "limits.total.wall_seconds" in (left.told(ended, OWN).message or "")
    at_its_own = replace(ended, wall_seconds=10.0)
    assert left.told(at_its_own, OWN) is at_its_own
    assert left.told(report(), OWN).message is None


def test_output_is_charged_to_the_byte():
    left, _ = remaining(output=100)
    first, last = report(b"a" * 60, b"b" * 20), report(b"c" * 20)
    assert left.charge(first, OWN) is first
    assert left.charge(last, OWN) is last
    assert left.refused() is None
    silent = report()
    assert left.charge(silent, OWN) is silent


@pytest.mark.parametrize(
    ("stdout", "stderr", "kept", "outcome"),
    [
        (b"a" * 41, b"b", (40, 0), Outcome.STDOUT_LIMIT),
        (b"a" * 40, b"b", (40, 0), Outcome.STDERR_LIMIT),
        (b"a" * 30, b"b" * 11, (30, 10), Outcome.STDERR_LIMIT),
    ],
)
def test_one_byte_beyond_is_cut_and_named(stdout, stderr, kept, outcome):
    left, _ = remaining(output=40)
    told = left.charge(report(stdout, stderr), OWN)
    assert (len(told.stdout), len(told.stderr)) == kept
    assert told.outcome is outcome
    assert told.message == (
        "too much output: 40 bytes were left of the 40 bytes of limits.total.output_bytes"
    )
    # what the stage wrote is still counted
    assert (told.stdout_total, told.stderr_total) == (len(stdout), len(stderr))


def test_stage_that_was_stopped_at_what_was_left_is_told_of_the_total():
    left, _ = remaining(output=40)
    stopped = replace(report(b"a" * 40, outcome=Outcome.STDOUT_LIMIT), stdout_total=70_000)
    told = left.charge(stopped, OWN)
    assert told.outcome is Outcome.STDOUT_LIMIT
    assert "limits.total.output_bytes" in (told.message or "")


def test_stages_own_output_limit_does_not_end_the_total():
    left, _ = remaining(output=250)
    stopped = replace(report(b"a" * 100, outcome=Outcome.STDOUT_LIMIT), stdout_total=70_000)
    assert left.charge(stopped, OWN) is stopped
    assert left.refused() is None


def test_what_comes_first_in_the_order_of_outcomes_is_still_told():
    left, _ = remaining(output=40)
    ended = replace(report(b"a" * 60, outcome=Outcome.MEMORY_LIMIT), message="out of memory")
    told = left.charge(ended, OWN)
    assert (told.outcome, told.message) == (Outcome.MEMORY_LIMIT, "out of memory")
    assert len(told.stdout) == 40
    assert left.refused() is not None


def test_cases_after_the_cut_are_not_run_and_those_beside_it_count_as_such():
    left, _ = remaining(output=40)
    left.charge(report(b"", b"b" * 60), OWN)
    refused = left.refused()
    assert refused is not None
    assert refused.outcome is Outcome.STDERR_LIMIT
    assert refused.message == "not run: the 40 bytes of limits.total.output_bytes are used up"
    assert left.charge(report(b"ran beside it"), OWN) == refused
