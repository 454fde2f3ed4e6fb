"""Replay: every event in order, folded again, and held against what the read model says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

from streams.entries import Entry, entry
from streams.errors import Undecodable
from streams.events import (
    ROOT,
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
    record,
)
from streams.fold import NOTHING, Submission, fold
from streams.readmodel import Generation
from streams.results import StageResult


@dataclass(slots=True)
class Replay:
    """The states after the events that were handed in.

    `cut`: they are not the log from its sequence 1 on. Then what does not begin with `submitted`
    is the rest of a story whose beginning stands in the archive, and has no state.
    """

    cut: bool = False
    events: int = 0
    damaged: int = 0
    states: dict[str, Submission] = field(default_factory=dict)
    rests: set[str] = field(default_factory=set)

    def add(self, item: AnyEvent | Undecodable) -> None:
        if isinstance(item, Undecodable):
            self.damaged += 1
            return
        self.events += 1
        if item.root != ROOT:  # an environment's own story: the read model has no entry for it
            return
        known = item.submission_id in self.states
        if self.cut and not known and not isinstance(item, Submitted):
            self.rests.add(item.submission_id)
            return
        self.states[item.submission_id] = fold(self.states.get(item.submission_id, NOTHING), item)

    def lines(self) -> list[str]:
        counted = f"{self.events} events, {len(self.states)} submissions, {self.damaged} damaged"
        if not self.rests:
            return [counted]
        return [counted, f"the rest of {len(self.rests)} submissions that begin in the archive"]


@dataclass(slots=True)
class Verdict:
    """Of each submission: the read model agrees, is behind, or differs.

    `behind` is a projector that has not come so far yet; what it has seen agrees with the log.
    """

    agree: int = 0
    behind: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.differ

    def lines(self) -> list[str]:
        return [
            f"read model: {self.agree} agree, {len(self.behind)} behind, {len(self.differ)} differ",
            *(f"behind: {submission_id}" for submission_id in self.behind[:20]),
            *(f"DIFFERS: {submission_id}" for submission_id in self.differ),
        ]


async def held_against(
    generation: Generation, states: Iterable[Submission], checkpoint: int
) -> Verdict:
    """The read model's entries against states that were folded from the log.

    `checkpoint` is read *before* the log: an entry that is older than it is not merely late.
    """
    verdict = Verdict()
    for state in states:
        found = await generation.get(state.id)
        match judge(state, None if found is None else found[0], checkpoint):
            case "agree":
                verdict.agree += 1
            case "behind":
                verdict.behind.append(state.id)
            case _:
                verdict.differ.append(state.id)
    return verdict


def judge(state: Submission, stored: Entry | None, checkpoint: int) -> str:
    """`agree`, `behind` or `differ`. Pure. An entry newer than the state has seen later events."""
    if stored is None:
        return "behind" if state.timeline[0].sequence > checkpoint else "differ"
    seen = stored.submission
    if seen.sequence == state.sequence:
        return "agree" if stored.model_dump_json() == entry(state).model_dump_json() else "differ"
    if seen.sequence > state.sequence:
        return "agree" if _one_story(stored, state) else "differ"
    if state.sequence <= checkpoint or not _one_story(stored, state):
        return "differ"
    return "behind"


def _one_story(stored: Entry, state: Submission) -> bool:
    """Whether the longer timeline begins with the shorter. A cut one says its ends only."""
    seen = stored.submission
    if stored.cut:
        known = {moment.sequence for moment in state.timeline}
        return all(m.sequence in known for m in seen.timeline if m.sequence <= state.sequence)
    longer, shorter = (seen, state) if seen.sequence > state.sequence else (state, seen)
    return longer.timeline[: len(shorter.timeline)] == shorter.timeline


def line(item: AnyEvent | Undecodable) -> str:
    """One event for a person: sequence, time, id, name, author, and what is essential in it."""
    if isinstance(item, Undecodable):
        return f"{item.sequence:>8}  DAMAGED: {item.cause.splitlines()[0]}"
    at = item.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    attempt = f" attempt {item.attempt}" if item.attempt else ""
    return (
        f"{item.sequence:>8}  {at}  {item.submission_id}  {item.event:<16} "
        f"{item.by}{attempt}  {essential(item)}"
    ).rstrip()


def essential(event: AnyEvent) -> str:  # noqa: C901, PLR0911 - one case for each event
    match event:
        case Submitted():
            request = event.request
            cache = "" if request.cache else ", uncached"
            return (
                f"{len(request.files)} files, {len(request.test_cases)} cases{cache}, "
                f"environment {event.environment_id}"
            )
        case DepsQueued():
            return f"{len(event.files)} files, environment {event.environment_id}"
        case DepsBuilt():
            return f"{event.how}: {_result(event.result)}"
        case Started():
            because = f", again because {event.retry_because}" if event.retry_because else ""
            return f"container {event.container[:12]}{because}"
        case Compiled():
            return _result(event.result)
        case Ran():
            verdict = f", {event.result.verdict}" if event.result.verdict else ""
            return f"case {event.result.case}: {_result(event.result)}{verdict}"
        case Finished():
            return event.verdict
        case Failed():
            return "; ".join(event.reasons)
        case CancelRequested() | Cancelled():
            return ""
        case Unknown():
            return f"unknown to this version: {sorted(event.model_extra or {})}"
        case _:
            assert_never(event)


def as_json(item: AnyEvent | Undecodable) -> dict[str, Any]:
    if isinstance(item, Undecodable):
        return {"sequence": item.sequence, "damaged": item.cause}
    return record(item)


def _result(result: StageResult) -> str:
    how = result.signal or ("" if result.exit_code is None else f"exit {result.exit_code}")
    words = [
        result.outcome.value,
        how,
        f"{result.wall_seconds:.3f} s",
        f"{result.stdout_total} bytes out",
    ]
    return ", ".join(word for word in words if word)
