"""The pure decisions."""

from __future__ import annotations

from dataclasses import replace

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
    hurried = replace(LIMITS, wall_seconds=1.0)
    assert decide.joinable(LIMITS, 1800) == decide.joinable(hurried, 1800)
    small = replace(LIMITS, memory_bytes=1)
    assert decide.joinable(LIMITS, 1800) != decide.joinable(small, 1800)


def test_late_is_the_wall_time_limit_with_the_words_so_far():
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
    found = decide.too_low(replace(LIMITS, **asked))
    assert found is not None
    assert found.outcome is outcome
    assert str(next(iter(asked.values()))) in (found.message or "")


def test_usual_limits_leave_room():
    assert decide.too_low(LIMITS) is None


def test_what_is_too_large_in_the_end_has_met_the_disk_limit():
    found = decide.too_large(report(Outcome.OK), replace(LIMITS, disk_bytes=10))
    assert (found.outcome, found.exit_code) == (Outcome.DISK_LIMIT, None)
    assert "10 bytes" in found.message


@pytest.mark.parametrize(
    "name", ["memory_bytes", "processes", "disk_bytes", "file_size_bytes", "open_files"]
)
def test_a_build_under_less_than_the_default_serves_its_submission_alone(name):
    less = replace(LIMITS, **{name: getattr(LIMITS, name) - 1})
    assert decide.lowered(less, LIMITS) == [name]
    assert name in decide.why_private(less, LIMITS, "")


def test_time_and_output_of_ones_own_are_no_reason_to_be_alone():
    own = replace(LIMITS, wall_seconds=1.0, cpu_seconds=1.0, stdout_bytes=1, stderr_bytes=1)
    assert decide.why_private(own, LIMITS, "") is None


def test_more_than_the_default_is_shared():
    more = replace(LIMITS, memory_bytes=2 * LIMITS.memory_bytes, processes=1024)
    assert decide.why_private(more, LIMITS, "") is None


def test_a_build_that_may_lack_something_serves_its_submission_alone():
    assert "an OOM kill" in decide.why_private(LIMITS, LIMITS, "an OOM kill")


def test_the_hosts_defaults_are_as_its_operator_set_them():
    found = decide.host_defaults({"memory_bytes": {"default": 5.0}, "processes": {"maximum": 7.0}})
    assert found == replace(LIMITS, memory_bytes=5, processes=7)
    assert decide.host_defaults({}) == LIMITS
