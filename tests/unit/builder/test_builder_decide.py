"""The pure decisions."""

from __future__ import annotations

import pytest

from builder import decide
from init.frames import Report
from init.limits import Stage, defaults
from init.outcome import Outcome
from streams.events import CancelRequested, DepsQueued, Started, Submitted
from streams.fold import fold_all
from streams.limits import Limits
from streams.request import Request

LIMITS = defaults(Stage.DEPENDENCIES)
COMMON = {"submission_id": "a1", "by": "test"}
SUBMITTED = Submitted(
    request=Request(files=()), environment_id="e", channel="c", sequence=1, **COMMON
)
QUEUED = DepsQueued(
    environment_id="e", channel="c", files=(), limits=Limits(), sequence=2, **COMMON
)


def report(outcome, *, cpu=1.0, memory=100, message=None):
    return Report(outcome, None, None, 1.0, cpu, memory, message=message)


def test_a_queued_one_is_wanted():
    assert decide.wanted(fold_all([SUBMITTED, QUEUED]))


@pytest.mark.parametrize(
    "event",
    [
        CancelRequested(sequence=3, **COMMON),
        Started(sequence=3, attempt=1, container="c", **COMMON),
    ],
)
def test_what_has_moved_on_is_not(event):
    assert not decide.wanted(fold_all([SUBMITTED, QUEUED, event]))


def test_limits_that_differ_in_the_clock_alone_join():
    from dataclasses import replace

    hurried = replace(LIMITS, wall_seconds=1.0)
    assert decide.joinable(LIMITS, 1800) == decide.joinable(hurried, 1800)
    small = replace(LIMITS, memory_bytes=1)
    assert decide.joinable(LIMITS, 1800) != decide.joinable(small, 1800)


def test_a_good_evaluation_is_good_whatever_its_daemon_met():
    found = decide.together(report(Outcome.OK), report(Outcome.MEMORY_LIMIT, memory=900), LIMITS)
    assert (found.outcome, found.cpu_seconds, found.memory_peak_bytes) == (Outcome.OK, 2.0, 900)


@pytest.mark.parametrize(
    ("evaluation", "builds", "told"),
    [
        (Outcome.NONZERO_EXIT, Outcome.CANCELLED, Outcome.NONZERO_EXIT),
        (Outcome.NONZERO_EXIT, Outcome.MEMORY_LIMIT, Outcome.MEMORY_LIMIT),
        (Outcome.NONZERO_EXIT, Outcome.DISK_LIMIT, Outcome.DISK_LIMIT),
        (Outcome.WALL_TIME_LIMIT, Outcome.MEMORY_LIMIT, Outcome.WALL_TIME_LIMIT),
        (Outcome.CANCELLED, Outcome.MEMORY_LIMIT, Outcome.MEMORY_LIMIT),
        (Outcome.MEMORY_LIMIT, Outcome.CPU_TIME_LIMIT, Outcome.CPU_TIME_LIMIT),
        (Outcome.NONZERO_EXIT, Outcome.SANDBOX_ERROR, Outcome.NONZERO_EXIT),
    ],
)
def test_a_limit_that_builds_met_explains_a_failure(evaluation, builds, told):
    assert decide.together(report(evaluation), report(builds), LIMITS).outcome is told


def test_cpu_time_of_both_halves_counts_together():
    half = LIMITS.cpu_seconds * 0.6
    found = decide.together(
        report(Outcome.NONZERO_EXIT, cpu=half), report(Outcome.CANCELLED, cpu=half), LIMITS
    )
    assert found.outcome is Outcome.CPU_TIME_LIMIT


def test_only_a_daemon_that_met_no_limit_and_was_not_stopped_broke():
    broke = {outcome for outcome in Outcome if decide.daemon_broke(report(outcome))}
    assert broke == {
        Outcome.SANDBOX_ERROR,
        Outcome.STDOUT_LIMIT,
        Outcome.STDERR_LIMIT,
        Outcome.SIGNALLED,
        Outcome.NONZERO_EXIT,
    }


def test_late_is_the_wall_time_limit_with_the_words_so_far():
    from dataclasses import replace

    told = decide.late(replace(report(Outcome.CANCELLED), stderr=b"building"), LIMITS, 12.0)
    assert (told.outcome, told.wall_seconds, told.stderr) == (
        Outcome.WALL_TIME_LIMIT, 12.0, b"building",
    )  # fmt: skip


def test_retries_grow_apart_and_stay_within_seconds():
    seconds = [decide.retry_seconds(n) for n in range(1, 20)]
    assert seconds == sorted(seconds)
    assert seconds[0] <= 1
    assert seconds[-1] == 15


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        ({"memory_bytes": 4096}, Outcome.MEMORY_LIMIT),
        ({"processes": 1}, Outcome.PROCESS_LIMIT),
        ({"open_files": 3}, Outcome.NONZERO_EXIT),
        ({"file_size_bytes": 1}, Outcome.FILE_SIZE_LIMIT),
    ],
)
def test_limits_that_leave_no_room_to_begin_are_a_result(asked, outcome):
    from dataclasses import replace

    found = decide.too_low(replace(LIMITS, **asked))
    assert found is not None
    assert found.outcome is outcome
    assert str(next(iter(asked.values()))) in (found.message or "")


def test_usual_limits_leave_room():
    assert decide.too_low(LIMITS) is None


def test_what_follows_a_fetch_has_what_is_left_of_the_limits():
    evaluation, fetch = report(Outcome.OK, cpu=2.0), report(Outcome.OK, cpu=1.0)
    rest = decide.left(LIMITS, evaluation, fetch, 4.0)
    assert not isinstance(rest, Outcome)
    assert rest.wall_seconds == LIMITS.wall_seconds - 4.0
    assert rest.cpu_seconds == LIMITS.cpu_seconds - 3.0
    wall, cpu = Outcome.WALL_TIME_LIMIT, Outcome.CPU_TIME_LIMIT
    assert decide.left(LIMITS, evaluation, fetch, LIMITS.wall_seconds) is wall
    assert decide.left(LIMITS, evaluation, report(wall), 1.0) is wall
    assert decide.left(LIMITS, report(Outcome.OK, cpu=LIMITS.cpu_seconds), fetch, 1.0) is cpu
    disk = Outcome.DISK_LIMIT
    assert decide.left(LIMITS, evaluation, report(disk), 1.0) is disk
    missed = report(Outcome.NONZERO_EXIT)
    assert not isinstance(decide.left(LIMITS, evaluation, missed, 1.0), Outcome)


def test_the_steps_before_count():
    last = report(Outcome.OK, cpu=1.0, memory=10)
    made = decide.sum_of(last, report(Outcome.OK, cpu=2.0, memory=30), report(Outcome.OK, cpu=0.5))
    assert (made.cpu_seconds, made.memory_peak_bytes) == (3.5, 100)


def test_what_is_too_large_in_the_end_has_met_the_disk_limit():
    made = decide.too_large(report(Outcome.OK), LIMITS.disk_bytes + 1, LIMITS)
    assert made.outcome is Outcome.DISK_LIMIT


@pytest.mark.parametrize("outcome", [Outcome.MEMORY_LIMIT, Outcome.WALL_TIME_LIMIT])
def test_a_limit_of_the_builds_explains_why_the_evaluation_was_stopped(outcome):
    made = decide.together(report(Outcome.CANCELLED), report(outcome), LIMITS)
    assert made.outcome is outcome


def test_both_halves_together_can_meet_the_limit_of_cpu_time():
    half = LIMITS.cpu_seconds / 2
    stopped = report(Outcome.CANCELLED, cpu=half)
    assert decide.together(stopped, stopped, LIMITS).outcome is Outcome.CPU_TIME_LIMIT
    little = report(Outcome.CANCELLED, cpu=1.0)
    assert decide.together(little, little, LIMITS).outcome is Outcome.CANCELLED


def test_cpu_time_above_the_limit_is_no_success_either():
    """With caches a shell is evaluated twice, and each half alone is below it."""
    half = LIMITS.cpu_seconds / 2
    made = decide.together(
        report(Outcome.OK, cpu=half), report(Outcome.CANCELLED, cpu=half), LIMITS
    )
    assert (made.outcome, made.exit_code) == (Outcome.CPU_TIME_LIMIT, None)
    below = report(Outcome.OK, cpu=half * 0.9)
    assert decide.together(below, below, LIMITS).outcome is Outcome.OK
