"""The table of decisions: a history and a delivered message, and what is to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from init.outcome import Outcome
from streams.content import inline
from streams.environments import Environment
from streams.events import (
    Cancelled,
    CancelRequested,
    Compiled,
    DepsBuilt,
    DepsQueued,
    Failed,
    Finished,
    Ran,
    Started,
    Submitted,
    Unknown,
    now,
)
from streams.fold import fold_all
from streams.limits import Limits
from streams.request import File, Request, TestCase
from streams.results import RunResult, StageResult
from worker.decide import Cancel, Finish, GiveUp, Ignore, Run, decide, over, remaining

PATH = "/nix/store/x"
ENVIRONMENT = Environment(id="e", path=PATH, closure=(PATH,), profile=inline(b""))
SILENT = "worker@a did not report within its lease"


def submitted(*, cache: bool = True, stop: bool = False) -> Submitted:
    files = tuple(File(name=n, content=inline(b"")) for n in ("shell.nix", "run.sh", "compile.sh"))
    request = Request(
        files=files, cache=cache, test_cases=(TestCase(), TestCase()), stop_on_failure=stop
    )
    return Submitted(submission_id="s", by="api", request=request, environment_id="e", channel="c")


def queued() -> DepsQueued:
    return DepsQueued(
        submission_id="s", by="api", environment_id="e", channel="c", files=(), limits=Limits()
    )


def built(outcome: Outcome = Outcome.OK, how: str = "built") -> DepsBuilt:
    return DepsBuilt(
        submission_id="s",
        by="builder@b" if how == "built" else "worker@a",
        how=how,
        result=StageResult(outcome=outcome),
        environment=ENVIRONMENT if outcome is Outcome.OK else None,
    )


def started(attempt: int = 1, because: str | None = None) -> Started:
    return Started(
        submission_id="s", by="worker@a", attempt=attempt, container="c", retry_because=because
    )


def compiled(outcome: Outcome = Outcome.OK) -> Compiled:
    return Compiled(submission_id="s", by="worker@a", result=StageResult(outcome=outcome))


def ran(case: int, outcome: Outcome = Outcome.OK) -> Ran:
    return Ran(submission_id="s", by="worker@a", result=RunResult(case=case, outcome=outcome))


ANOTHERS = built().model_copy(update={"environment": ENVIRONMENT.model_copy(update={"id": "f"})})
WHOSE = {"submission_id": "s", "by": "x"}
CANCEL = CancelRequested(**WHOSE)
CACHED = (submitted(), queued(), built())
UNCACHED = (submitted(cache=False),)

#: name, history, which of its events is delivered (by index), the decision
TABLE = [
    ("environment is built", CACHED, 2, Run(1, None, ENVIRONMENT)),
    ("environment of other files", (*CACHED[:2], ANOTHERS), 2, Run(1, None, None)),
    ("uncached", UNCACHED, 0, Run(1, None, None)),
    ("no builder by the deadline", CACHED[:2], 1, Run(1, None, None)),
    ("deadline of what a builder built", CACHED, 1, Ignore),
    ("builder came too late", (*CACHED[:2], started(), built()), 3, Ignore),
    ("builder came too late, fallback leads", (*CACHED[:2], started(), built()), 1, Run),
    ("cached submitted leads nothing", CACHED, 0, Ignore),
    ("dependencies failed", (*CACHED[:2], built(Outcome.NONZERO_EXIT)), 2,
     Finish("dependencies-error", 0)),
    ("a builder's own fault is a cache miss", (*CACHED[:2], built(Outcome.SANDBOX_ERROR)), 2,
     Run(1, None, None)),
    ("earlier worker fell silent", (*CACHED, started()), 2, Run(2, SILENT, ENVIRONMENT)),
    ("uncached attempt fell silent", (*UNCACHED, started(), built(how="in-container")), 0,
     Run(2, SILENT, None)),
    ("in-container build failed, worker fell silent",
     (*UNCACHED, started(), built(Outcome.NONZERO_EXIT, "in-container")), 0,
     Finish("dependencies-error", 1)),
    ("attempts used up", (*CACHED, started(), started(2, "r1"), started(3, "r2")), 2,
     GiveUp(("r1", "r2", SILENT), 3)),
    ("attempts used up, but all has run",
     (*CACHED, started(3), compiled(), ran(0), ran(1)), 2, Finish("ok", 3)),
    ("some has run", (*CACHED, started(), compiled(), ran(0)), 2, Run(2, SILENT, ENVIRONMENT)),
    ("the first failed, then silence, and no other is wanted",
     (submitted(stop=True), queued(), built(), started(), compiled(),
      ran(0, Outcome.NONZERO_EXIT)), 2, Finish("nonzero-exit", 1)),
    ("the first was well, then silence, and others are wanted",
     (submitted(stop=True), queued(), built(), started(), compiled(), ran(0)), 2,
     Run(2, SILENT, ENVIRONMENT)),
    ("compile failed, then silence", (*CACHED, started(), compiled(Outcome.NONZERO_EXIT)), 2,
     Finish("compile-error", 1)),
    ("cancel before the start", (*CACHED, CANCEL), 2, Cancel(0)),
    ("cancel before the environment", (*CACHED[:2], CANCEL), 1, Cancel(0)),
    ("cancel while running", (*CACHED, started(), CANCEL), 2, Cancel(1)),
    ("cancel goes before a failed environment",
     (*CACHED[:2], CANCEL, built(Outcome.NONZERO_EXIT)), 3, Cancel(0)),
    ("finished", (*CACHED, Finished(verdict="ok", **WHOSE)), 2, Ignore),
    ("failed", (*CACHED, Failed(reasons=("r",), **WHOSE)), 2, Ignore),
    ("cancelled", (*CACHED, CANCEL, Cancelled(**WHOSE)), 2, Ignore),
    ("nobody submitted it", (built(),), 0, Ignore),
    ("a newer version's event is no hindrance",
     (*CACHED, Unknown(event="zapped", **WHOSE)), 2, Run(1, None, ENVIRONMENT)),
    ("a newer version's event leads nothing",
     (*CACHED, Unknown(event="zapped", **WHOSE)), 3, Ignore),
]  # fmt: skip


@pytest.mark.parametrize(("history", "index", "decision"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_decision(history, index, decision):
    numbered = [e.model_copy(update={"sequence": n}) for n, e in enumerate(history, 1)]
    made = decide(fold_all(numbered), numbered[index], attempts=3)
    if isinstance(decision, type):
        assert isinstance(made, decision)
    else:
        assert made == decision


def test_a_caught_failure_is_the_next_attempts_reason():
    numbered = [e.model_copy(update={"sequence": n}) for n, e in enumerate((*CACHED, started()), 1)]
    made = decide(fold_all(numbered), numbered[2], attempts=3, failure="init: broken")
    assert made == Run(2, "init: broken", ENVIRONMENT)
    made = decide(fold_all(numbered), numbered[2], attempts=1, failure="init: broken")
    assert made == GiveUp(("init: broken",), 1)


def test_exactly_one_message_carries_a_submission_at_every_point_of_every_history():
    for _, history, _, _ in TABLE:
        numbered = [e.model_copy(update={"sequence": n}) for n, e in enumerate(history, 1)]
        for length in range(1, len(numbered) + 1):
            state = fold_all(numbered[:length])
            leading = [
                event for event in numbered[:length]
                if isinstance(decide(state, event, attempts=3), Run | Finish | GiveUp)
            ]  # fmt: skip
            assert len(leading) <= 1


def test_remaining_counts_from_the_events_own_time():
    event = queued()
    assert remaining(event, event.at + timedelta(seconds=10), 330) == 320
    assert remaining(event, event.at + timedelta(seconds=331), 330) == -1
    assert remaining(event, now(), 0) <= 0


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_that_was_set_back_holds_up_nothing_beyond_one_deadline(hours):
    event = queued()
    before = event.at - timedelta(hours=hours)
    assert remaining(event, before, 330) == 330
    assert remaining(event, before + timedelta(seconds=330), 330, delivered=2) <= 0
    assert remaining(event, event.at + timedelta(hours=hours), 330) <= 0


def test_one_that_comes_again_too_soon_waits_for_its_deadline():
    event = queued()
    assert remaining(event, event.at + timedelta(seconds=30), 330, delivered=2) == 300


@pytest.mark.parametrize(
    ("attempt", "sequence", "is_over"),
    [
        (2, 5, False),
        (2, None, False),  # the answer to our `started` is still under way
        (3, 6, False),  # read from a replica that has not got ours yet
        (3, None, False),
        (1, 4, True),
        (1, None, True),  # frozen while `started` was said, and taken over before its answer
    ],
)
def test_attempt_is_over_once_the_log_holds_a_later_one(attempt, sequence, is_over):
    history = (*CACHED, started(), started(2, "r"))
    numbered = [e.model_copy(update={"sequence": n}) for n, e in enumerate(history, 1)]
    assert over(fold_all(numbered), attempt, sequence) is is_over


@pytest.mark.parametrize("last", [CANCEL, Finished(verdict="ok", **WHOSE)])
def test_attempt_is_over_once_it_was_cancelled_or_has_ended(last):
    history = (*CACHED, started(), last)
    numbered = [e.model_copy(update={"sequence": n}) for n, e in enumerate(history, 1)]
    assert over(fold_all(numbered), 1, 4)
