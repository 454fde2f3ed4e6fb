"""Verdicts."""

from __future__ import annotations

import pytest

from init.outcome import Outcome
from streams.fold import Submission
from streams.request import Request
from streams.results import RunResult, StageResult
from worker import verdict


@pytest.mark.parametrize(
    ("outcome", "same", "told"),
    [
        (Outcome.OK, True, "accepted"),
        (Outcome.OK, False, "wrong-answer"),
        (Outcome.OK, None, None),
        (Outcome.NONZERO_EXIT, True, "nonzero-exit"),
        (Outcome.NONZERO_EXIT, None, None),
        (Outcome.MEMORY_LIMIT, False, "memory-limit"),
    ],
)
def test_verdict_of_a_run(outcome, same, told):
    assert verdict.of_run(outcome, same=same) == told


def stage(outcome: Outcome) -> StageResult:
    return StageResult(outcome=outcome)


def run(case: int, outcome: Outcome = Outcome.OK, told: str | None = None) -> RunResult:
    return RunResult(case=case, outcome=outcome, verdict=told)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Submission(dependencies=stage(Outcome.NONZERO_EXIT)), "dependencies-error"),
        (Submission(dependencies=stage(Outcome.WALL_TIME_LIMIT)), "dependencies-error"),
        (Submission(compile=stage(Outcome.NONZERO_EXIT)), "compile-error"),
        (Submission(compile=stage(Outcome.SIGNALLED)), "compile-error"),
        (Submission(compile=stage(Outcome.MEMORY_LIMIT)), "memory-limit"),
        (Submission(runs=(run(0), run(1))), "ok"),
        (Submission(runs=(run(0, told="accepted"), run(1))), "accepted"),
        (Submission(runs=(run(0, told="accepted"), run(1, told="wrong-answer"))), "wrong-answer"),
        (Submission(runs=(run(0), run(1, Outcome.SIGNALLED))), "signalled"),
        (Submission(runs=(run(0, told="comparison-limit"), run(1))), "comparison-limit"),
        (
            Submission(
                compile=stage(Outcome.OK),
                runs=(
                    run(0, told="accepted"),
                    run(1, Outcome.DISK_LIMIT, "disk-limit"),
                    run(2, told="wrong-answer"),
                ),
            ),
            "disk-limit",
        ),
    ],
)
def test_verdict_of_a_submission(state, told):
    assert verdict.of_submission(state) == told


@pytest.mark.parametrize(
    ("failing", "stops"),
    [
        (run(1, told="accepted"), False),
        (run(1), False),
        (run(1, told="wrong-answer"), True),
        (run(1, told="comparison-limit"), True),
        (run(1, Outcome.CPU_TIME_LIMIT, "cpu-time-limit"), True),
        (run(1, Outcome.CPU_TIME_LIMIT), True),
    ],
)
def test_a_failure_stops_what_wants_to_be_stopped(failing, stops):
    request = Request(files=(), stop_on_failure=True)
    state = Submission(request=request, runs=(run(0, told="accepted"), failing))
    assert verdict.stopped(state) is stops
    patient = state.model_copy(update={"request": Request(files=())})
    assert not verdict.stopped(patient)
