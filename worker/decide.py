"""What to do about a delivered event, given the submission's state. Pure; `carrier.py` acts.

A submission is carried by exactly one message, so that no two deliveries ever lead it at once:
an uncached one by its `submitted`; a cached one by the builder's `deps-built`, if that came
before any worker started; else by its `deps-queued`, at the build deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from init.outcome import Outcome
from streams.environments import Environment
from streams.events import AnyEvent, DepsBuilt, DepsQueued, Submitted
from streams.fold import Moment, Submission
from worker import verdict


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing is to do for this message, now or ever; `why` is for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """All that can run has run, or nothing can: say the verdict, no container is needed."""

    verdict: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    attempt: int


@dataclass(frozen=True, slots=True)
class Run:
    """Begin attempt number `attempt`. Without an environment the container builds its own."""

    attempt: int
    retry_because: str | None
    environment: Environment | None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Every attempt was lost through our fault."""

    reasons: tuple[str, ...]
    attempt: int


Decision = Ignore | Finish | Cancel | Run | GiveUp


def decide(  # noqa: PLR0911 - a table, one line for each row
    state: Submission, event: AnyEvent, *, attempts: int, failure: str | None = None
) -> Decision:
    """`failure`: why our own last attempt was lost, when that is why we ask again."""
    if state.ended:
        return Ignore(f"it has ended: {state.status}")
    if state.request is None:
        return Ignore("nobody submitted it")
    if state.cancel_requested:
        return Cancel(state.attempts)
    if not leads(state, event):
        return Ignore(f"another message than this {event.event} carries it")
    if complete(state):
        return Finish(verdict.of_submission(state), state.attempts)
    reason = _reason(state, failure)
    if state.attempts >= attempts:
        return GiveUp((*state.failures, reason or "no attempt is allowed"), state.attempts)
    return Run(state.attempts + 1, reason, _built_for_it(state))


def _built_for_it(state: Submission) -> Environment | None:
    """What a builder made of exactly this submission's shell files; anything else is a miss."""
    built = state.environment
    if built is None or state.how == "in-container" or built.id != state.environment_id:
        return None
    return built


def leads(state: Submission, event: AnyEvent) -> bool:
    """Whether this message is the one that carries its submission."""
    first = next((m for m in state.timeline if m.event in {"started", "deps-built"}), None)
    by_builder = first is not None and first.event == "deps-built"
    match event:
        case Submitted():
            return not event.request.cache
        case DepsBuilt():
            return by_builder and first is not None and first.sequence == event.sequence
        case DepsQueued():
            return not by_builder
        case _:
            return False


def complete(state: Submission) -> bool:
    """Whether the log holds every result that there can be.

    Dependencies that failed through a builder's own fault are a cache miss, no result.
    """
    if verdict.failed(state.dependencies):
        return state.dependencies is not None and (
            state.dependencies.outcome is not Outcome.SANDBOX_ERROR
        )
    if verdict.failed(state.compile):
        return True
    if verdict.stopped(state):
        return True
    return state.request is not None and len(state.runs) >= len(state.request.test_cases)


def over(state: Submission, attempt: int, started: int | None) -> bool:
    """Whether the log wants no more of a running attempt: a cancel, an end, or a successor.

    `started` is the sequence of its own `started`; None while the answer to that is still under
    way, when a successor shows by its number alone. `state` may come from a replica that is a
    little behind: what is not there yet says nothing.
    """
    succeeded = state.attempts > attempt or (started is not None and begun(state) > started)
    return state.ended or state.cancel_requested or succeeded


def begun(state: Submission) -> int:
    """The sequence of the latest attempt's `started`; 0 before the first."""
    start = last_start(state)
    return 0 if start is None else start.sequence


def last_start(state: Submission) -> Moment | None:
    """The beginning of the latest attempt."""
    return next((m for m in reversed(state.timeline) if m.event == "started"), None)


def remaining(
    event: AnyEvent, now: datetime, deadline_seconds: float, *, delivered: int = 1
) -> float:
    """Seconds until a worker builds what no builder has built; 0 or less: now.

    An event from the future was made by a clock that is ahead of ours, or ours was set back. It
    waits for the deadline, and no longer: it was put off for so long when it was first delivered.
    """
    age = (now - event.at).total_seconds()
    if age < 0:
        return deadline_seconds if delivered == 1 else 0.0
    return deadline_seconds - age


def _reason(state: Submission, failure: str | None) -> str | None:
    if failure is not None:
        return failure
    start = last_start(state)
    return None if start is None else f"{start.by} did not report within its lease"
