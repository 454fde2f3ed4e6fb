"""What a stretch of the log changes in the read model. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.content import Content
from streams.errors import Undecodable
from streams.events import (
    ROOT,
    TERMINAL,
    AnyEvent,
    CancelRequested,
    Compiled,
    DepsBuilt,
    DepsQueued,
    Ran,
    Submitted,
)
from streams.readmodel import Built, where


@dataclass(slots=True)
class Stretch:
    """Consecutive events: by submission, so that each entry is written once for all of them.

    `letters`: of what is large in them. `by_environment`: those of them that made or used one.
    `opened`: by how many the submissions
    that have not ended become more, and the environments that are wanted for themselves. `answers`:
    those of them whose asking stands before this stretch, or has left the log.
    """

    by_submission: dict[str, list[AnyEvent]] = field(default_factory=dict)
    by_environment: dict[str, list[DepsBuilt]] = field(default_factory=dict)
    events: int = 0
    letters: int = 0
    opened: int = 0
    answers: list[DepsBuilt | CancelRequested] = field(default_factory=list)
    damaged: int = 0
    last: int = 0
    asked: set[str] = field(default_factory=set)

    def add(self, item: AnyEvent | Undecodable) -> None:
        self.last = item.sequence
        if isinstance(item, Undecodable):
            self.damaged += 1
            return
        self.events += 1
        self.letters += letters(item)
        if isinstance(item, DepsBuilt) and item.environment is not None:
            self.by_environment.setdefault(item.environment.id, []).append(item)
        if item.root != ROOT:
            self._warm(item)
            return
        # Each submission has one `submitted` and one terminal event: no state is needed to count.
        self.opened += isinstance(item, Submitted) - (item.event in TERMINAL)
        self.by_submission.setdefault(item.submission_id, []).append(item)

    def _warm(self, item: AnyEvent) -> None:
        if isinstance(item, DepsQueued):
            self.opened += not item.again
            self.asked.add(item.submission_id)
        elif isinstance(item, DepsBuilt) or (isinstance(item, CancelRequested) and not item.others):
            self.opened -= 1
            if item.submission_id in self.asked:
                self.asked.remove(item.submission_id)
            else:
                self.answers.append(item)


def letters(event: AnyEvent) -> int:
    """Of what may be large in it: contents that stand in place, and the names of a closure."""
    contents: Iterable[Content] = ()
    names: Iterable[str] = ()
    match event:
        case Submitted():
            contents = event.request.contents()
        case DepsQueued():
            contents = (file.content for file in event.files)
        case DepsBuilt() | Compiled() | Ran():
            contents = (event.result.stdout, event.result.stderr)
    if isinstance(event, DepsBuilt) and event.environment is not None:
        names = event.environment.closure
    return sum(len(content.data or "") for content in contents) + sum(map(len, names))


def begins(events: list[AnyEvent]) -> bool:
    """Whether these are a submission's events from its first: then nothing must be looked up."""
    return isinstance(events[0], Submitted)


def used(known: Built | None, *, events: list[DepsBuilt]) -> Built | None:
    """What is known of one environment after these events; those seen before change nothing.

    Its making is told, the latest where it was made again; a use stands for it only where its
    making is older than the log.
    """
    for event in events:
        seen = where(event)
        if seen is None or (known is not None and seen.sequence <= known.last_sequence):
            continue
        if known is None:
            known = seen
        elif seen.how == "built":
            known = seen.model_copy(update={"hits": known.hits})
        else:
            last = {"last_used": seen.last_used, "last_sequence": seen.last_sequence}
            known = known.model_copy(update=last | {"hits": known.hits + 1})
    return known
