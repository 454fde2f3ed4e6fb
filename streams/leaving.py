"""Which messages may leave the log: whole periods, before which everything has ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import orjson

from streams.archive import Length, end_of, period
from streams.events import TERMINAL, WARM
from streams.reading import Stored

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Story:
    """Of one submission: where it begins, when (if that is there), what became of it."""

    first: int
    status: str
    began: datetime | None
    may_leave: bool


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """What has not ended: where it begins, its id, and whether it is an environment's order."""

    first: int
    id: str
    environment: bool = False

    def __str__(self) -> str:
        if self.environment:
            return f"environment {self.id} waits for a builder"
        return f"submission {self.id} has not ended"


@dataclass(slots=True)
class Survey:
    """What the log holds, seen in one pass over it. What began after `before` is soon forgotten.

    A message's time is what it says itself, but never before one that came before it: clocks of
    several hosts differ, and a copied log has other times of its own.
    """

    length: Length
    before: datetime
    #: The last sequence of each period, in order.
    periods: dict[str, int] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    #: Environments that were asked for by themselves and wait for a builder, and where.
    wanted: dict[str, int] = field(default_factory=dict)
    _now: datetime = _LONG_AGO

    def add(self, message: Stored) -> None:
        event, at, others = _said(message.data)
        if at is not None and at > self._now:
            self._now = at
        now = period(self._now, self.length)
        self.periods[now] = message.sequence
        root, id_, *_ = message.subject.split(".")
        if root == WARM:
            if not others:
                self._add_wanted(id_, event, message.sequence)
            return
        story = self.stories.get(id_)
        if story is None:
            began = at if event == "submitted" else None
            story = Story(message.sequence, event, began, end_of(now) <= self.before)
            self.stories[id_] = story
        elif story.status not in TERMINAL:
            story.status = event
        if story.status in TERMINAL and not story.may_leave:
            del self.stories[id_]

    def _add_wanted(self, environment_id: str, event: str, sequence: int) -> None:
        if event == "deps-queued":
            self.wanted.setdefault(environment_id, sequence)
        else:
            self.wanted.pop(environment_id, None)

    def open_from(self) -> Open | None:
        """The oldest submission that has not ended.

        Or an environment that waits for a builder: its message is the builder's order.
        """
        still = [Open(s.first, id_) for id_, s in self.stories.items() if s.status not in TERMINAL]
        still += [Open(first, id_, environment=True) for id_, first in self.wanted.items()]
        return min(still, default=None)

    def may_leave(self) -> list[tuple[str, int]]:
        """The periods that are over by then, each with its last sequence, in order.

        Everything from the beginning of an open submission on stays, and so does its period.
        """
        waiting = self.open_from()
        found = []
        for name, last in self.periods.items():
            if end_of(name) > self.before or (waiting is not None and waiting.first <= last):
                break
            found.append((name, last))
        return found

    def beginning_in(self, first: int, last: int) -> dict[str, Story]:
        """The submissions that begin there: with them they go."""
        return {id_: s for id_, s in self.stories.items() if first <= s.first <= last}


def _said(data: bytes) -> tuple[str, datetime | None, bool]:
    """An event's name and time, of any version; nothing of one that is damaged.

    And whether it is the cancel of an environment for which others still wait.
    """
    try:
        fields = orjson.loads(data)
        at = datetime.fromisoformat(fields["at"]).astimezone(UTC)
        return str(fields["event"]), at, bool(fields.get("others"))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return "damaged", None, False
