"""Making the read model again from the log's first event, beside the live one, and switching."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from projector.service import Projection
from streams.entries import Entry
from streams.log import EventLog
from streams.readmodel import Generation, Progress, ReadModel
from streams.replay import Connection

#: Entries that are compared at once.
_READS: Final = 32
#: Projector and API look at the pointer each second.
_NOTICE_SECONDS: Final = 2.5


@dataclass(slots=True)
class Comparison:
    """The old generation and the new one, entry by entry.

    `moved`: both are right, but one of them has seen more events. `differ` should be empty: the
    fold has changed since the old one was written, or somebody else wrote into it.
    """

    equal: int = 0
    moved: int = 0
    differ: list[str] = field(default_factory=list)
    only_old: list[str] = field(default_factory=list)
    only_new: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a rebuild did."""

    generation: str
    events: int
    damaged: int
    submissions: int
    last: int
    seconds: float
    comparison: Comparison

    def lines(self) -> list[str]:
        seen = self.comparison
        rate = self.events / self.seconds if self.seconds else 0
        rebuilt = (
            f"rebuilt generation {self.generation}: {self.events} events, {self.submissions} "
            f"submissions up to sequence {self.last} in {self.seconds:.2f} s ({rate:.0f} events/s)"
        )
        compared = (
            f"compared with the one before: {seen.equal} equal, {seen.moved} with other events "
            f"seen, {len(seen.differ)} differ, {len(seen.only_old)} only in the old, "
            f"{seen.only_new} only in the new"
        )
        return [
            rebuilt,
            compared,
            *(f"differs: {submission_id}" for submission_id in seen.differ[:20]),
            *(f"only in the old: {submission_id}" for submission_id in seen.only_old[:20]),
            *([f"{self.damaged} messages of the log are no events"] if self.damaged else []),
        ]


async def rebuild(client: Connection, log: EventLog, model: ReadModel) -> Report:
    """Fill the spare generation, compare, catch up once more, switch. One rebuild at a time.

    It returns when nobody reads the old one any more: only then may the next one clear that.
    """
    started = time.monotonic()
    old, new = await model.live(), await model.spare()
    projection = await _folded(client, log, new)
    seconds = time.monotonic() - started
    comparison = await compare(client, old, new)
    await projection.advance()
    while projection.progress.sequence < await old.checkpoint():
        await projection.advance()
    await model.switch_to(new)
    await projection.advance()  # what came between the last two
    await asyncio.sleep(_NOTICE_SECONDS)
    return Report(
        generation=new.name,
        events=projection.events,
        damaged=projection.damaged,
        submissions=comparison.equal
        + comparison.moved
        + len(comparison.differ)
        + comparison.only_new,
        last=projection.progress.sequence,
        seconds=seconds,
        comparison=comparison,
    )


async def _folded(client: Connection, log: EventLog, new: Generation) -> Projection:
    """The whole log in it. Once more when an archive run took events away from before our eyes."""
    while True:
        first = (await log.extent()).first
        await new.clear(client)
        projection = Projection(log, new, Progress())
        await projection.advance()
        if (await log.extent()).first == first:
            return projection


async def compare(client: Connection, old: Generation, new: Generation) -> Comparison:
    """Every entry of both."""
    found = Comparison()
    old_ids, new_ids = set(await old.ids(client)), set(await new.ids(client))
    found.only_old = sorted(old_ids - new_ids)
    found.only_new = len(new_ids - old_ids)
    slots = asyncio.Semaphore(_READS)

    async def one(submission_id: str) -> None:
        async with slots:
            _judge(submission_id, await old.get(submission_id), await new.get(submission_id), found)

    async with asyncio.TaskGroup() as group:
        for submission_id in sorted(old_ids & new_ids):
            group.create_task(one(submission_id))
    return found


def _judge(
    submission_id: str,
    old: tuple[Entry, int] | None,
    new: tuple[Entry, int] | None,
    found: Comparison,
) -> None:
    if old is None or new is None:
        found.moved += 1
    elif old[0].model_dump_json() == new[0].model_dump_json():
        found.equal += 1
    elif old[0].submission.sequence != new[0].submission.sequence:
        found.moved += 1
    else:
        found.differ.append(submission_id)
