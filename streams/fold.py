"""The fold: what a submission is, given its events in order. Pure, total, and the only reader.

The read model, the API's answers, the workers' decisions and the audit all come from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from streams.content import Content, Frozen
from streams.environments import Environment
from streams.events import (
    AnyEvent,
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
)
from streams.request import Request
from streams.results import RunResult, StageResult


class Status(StrEnum):
    """The last transition; `NONE` is a submission without any event."""

    NONE = "none"
    SUBMITTED = "submitted"
    DEPS_QUEUED = "deps-queued"
    DEPS_BUILT = "deps-built"
    STARTED = "started"
    COMPILED = "compiled"
    RAN = "ran"
    CANCEL_REQUESTED = "cancel-requested"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL: Final = frozenset({Status.FINISHED, Status.FAILED, Status.CANCELLED})


class Moment(Frozen):
    """One line of the timeline. An unknown event stands here too, under its own name."""

    event: str
    at: datetime
    sequence: int
    by: str
    attempt: int


class Submission(Frozen):
    """The state of one submission after the event with stream sequence `sequence`.

    `attempts` counts `started`; `failures` holds why each attempt but the last ended, and all of
    them once it has failed. `unknown` keeps what a newer version recorded.
    """

    id: str = ""
    status: Status = Status.NONE
    request: Request | None = None
    environment_id: str | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None
    how: str | None = None
    cache_miss: str | None = None
    dependencies: StageResult | None = None
    environment: Environment | None = None
    compile: StageResult | None = None
    runs: tuple[RunResult, ...] = ()
    verdict: str | None = None
    attempts: int = 0
    failures: tuple[str, ...] = ()
    cancel_requested: bool = False
    #: Of an environment's own story: who waits for it, "" for callers without a key.
    wanted_by: tuple[str, ...] = ()
    sequence: int = 0
    timeline: tuple[Moment, ...] = ()
    unknown: tuple[dict[str, Any], ...] = ()

    @property
    def ended(self) -> bool:
        return self.status.terminal

    def contents(self) -> Iterator[Content]:
        """Those of the request and of every stage, in the order in which clients see them."""
        if self.request is not None:
            yield from self.request.contents()
        for result in (self.dependencies, self.compile, *self.runs):
            if result is not None:
                yield result.stdout
                yield result.stderr


NOTHING: Final = Submission()


def fold(state: Submission, event: AnyEvent) -> Submission:
    """The submission after one more event; one at or before `state.sequence` changes nothing."""
    if event.sequence and event.sequence <= state.sequence:
        return state
    return state.model_copy(update=_seen(state, event) | _changes(state, event))


def fold_all(events: Iterable[AnyEvent], state: Submission = NOTHING) -> Submission:
    for event in events:
        state = fold(state, event)
    return state


def _seen(state: Submission, event: AnyEvent) -> dict[str, Any]:
    moment = Moment(
        event=event.event,
        at=event.at,
        sequence=event.sequence,
        by=event.by,
        attempt=event.attempt,
    )
    return {
        "id": event.submission_id,
        "sequence": event.sequence,
        "timeline": (*state.timeline, moment),
    }


def _changes(  # noqa: C901, PLR0911 - one case for each event: a table, as long as the vocabulary
    state: Submission, event: AnyEvent
) -> dict[str, Any]:
    match event:
        case Submitted():
            return {
                "status": Status.SUBMITTED,
                "request": event.request,
                "environment_id": event.environment_id,
                "idempotency_key": event.idempotency_key,
                "request_sha256": event.request_sha256,
            }
        case DepsQueued():
            return {"status": Status.DEPS_QUEUED} | _wanted(state, event)
        case DepsBuilt():
            return {
                "status": Status.DEPS_BUILT,
                "wanted_by": (),
                "how": event.how,
                "cache_miss": event.cache_miss,
                "dependencies": event.result,
                "environment": event.environment,
            }
        case Started():
            return _started(state, event)
        case Compiled():
            return {"status": Status.COMPILED, "compile": event.result}
        case Ran():
            others = [run for run in state.runs if run.case != event.result.case]
            runs = sorted([*others, event.result], key=lambda run: run.case)
            return {"status": Status.RAN, "runs": tuple(runs)}
        case CancelRequested():
            return _withdrawn(state, event)
        case Finished():
            return {"status": Status.FINISHED, "verdict": event.verdict}
        case Failed():
            return {"status": Status.FAILED, "failures": event.reasons}
        case Cancelled():
            return {"status": Status.CANCELLED}
        case Unknown():
            return {"unknown": (*state.unknown, event.model_dump(mode="json"))}
        case _:
            assert_never(event)


def _wanted(state: Submission, event: DepsQueued) -> dict[str, Any]:
    """By one caller more; what was withdrawn or answered before is a story of its own."""
    if not event.warm:
        return {}
    callers = state.wanted_by if state.status is Status.DEPS_QUEUED else ()
    found = tuple(sorted({*callers, event.caller or ""}))
    return {"cancel_requested": False, "wanted_by": found}


def _withdrawn(state: Submission, event: CancelRequested) -> dict[str, Any]:
    left = tuple(caller for caller in state.wanted_by if caller != (event.caller or ""))
    if event.warm and left:
        return {"wanted_by": left}
    return {"status": Status.CANCEL_REQUESTED, "cancel_requested": True, "wanted_by": ()}


def _started(state: Submission, event: Started) -> dict[str, Any]:
    """A new attempt begins in a new container: what ran in the old one runs again.

    What a builder made is kept; what a container made for itself is gone with the container.
    """
    changes: dict[str, Any] = {
        "status": Status.STARTED,
        "attempts": event.attempt,
        "compile": None,
        "runs": (),
    }
    if state.how == "in-container":
        changes |= {"how": None, "cache_miss": None, "dependencies": None, "environment": None}
    if event.retry_because is not None:
        changes["failures"] = (*state.failures, event.retry_because)
    return changes
