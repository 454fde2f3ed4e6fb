"""One of each event, and one whole story."""

from __future__ import annotations

from init.outcome import Outcome
from streams.content import inline
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
)
from streams.limits import Limits
from streams.request import File, Request, TestCase
from streams.results import RunResult, StageResult

OK = StageResult(outcome=Outcome.OK, exit_code=0)
FILES = (
    File(name="shell.nix", content=inline(b"{ }")),
    File(name="run.sh", content=inline(b"\xff\xfe")),
)


def submitted(*, cache=True):
    request = Request(
        files=FILES, cache=cache,
        test_cases=(TestCase(stdin=inline(b"1"), expected_stdout=inline(b"2"), args=("a",)),),
    )  # fmt: skip
    return Submitted(
        submission_id="s1", by="api@h", request=request, environment_id="e1", channel="c1"
    )


def queued():
    return DepsQueued(
        submission_id="s1", by="api@h", environment_id="e1", channel="c1",
        files=FILES[:1], limits=Limits(),
    )  # fmt: skip


def built(how="built", result=OK):
    return DepsBuilt(submission_id="s1", by="builder@h", how=how, result=result)


def started(attempt=1, retry_because=None):
    return Started(
        submission_id="s1", by="worker@h", attempt=attempt, container="c0ffee",
        retry_because=retry_because,
    )  # fmt: skip


def compiled():
    return Compiled(submission_id="s1", by="worker@h", attempt=1, result=OK)


def ran(case=0, outcome=Outcome.OK):
    result = RunResult(case=case, outcome=outcome, verdict="accepted", stdout=inline(b"2\n"))
    return Ran(submission_id="s1", by="worker@h", attempt=1, result=result)


def finished():
    return Finished(submission_id="s1", by="worker@h", attempt=1, verdict="accepted")


def cancelled():
    return Cancelled(submission_id="s1", by="worker@h")


def at(event, sequence):
    return event.model_copy(update={"sequence": sequence})


def known(story):
    """The story as the log would have it: sequences from 1."""
    return [at(event, sequence) for sequence, event in enumerate(story, start=1)]


EVENTS = [submitted(), queued(), built(), started(), compiled(), ran(), finished()]
ALL = [
    *EVENTS,
    CancelRequested(submission_id="s1", by="api@h"),
    cancelled(),
    Failed(submission_id="s1", by="worker@h", attempt=3, reasons=("a", "b", "c")),
]
