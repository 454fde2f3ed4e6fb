"""Folds the log into one generation of the read model, and follows the generation that is live."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import Final

from projector.project import Stretch, begins, used
from streams.entries import entry, least, letters
from streams.errors import EntryTooLarge, LogUnavailable
from streams.events import TERMINAL, WARM, AnyEvent, CancelRequested, DepsBuilt, DepsQueued
from streams.fold import NOTHING, Submission, fold_all
from streams.log import EventLog
from streams.readmodel import Generation, Progress, ReadModel
from streams.replay import events_of, read_all

_LOGGER: Final = logging.getLogger(__name__)
#: Events that are folded before anything is written.
_STRETCH: Final = 500
#: And letters in them: some take four bytes each, and no checkpoint is written before.
_STRETCH_LETTERS: Final = 16 * 1024 * 1024
#: Entries that are written at once.
_WRITES: Final = 32
#: States of submissions that go on, and letters of their contents together: reading the story of a
#: large one again for each of its events would take ever longer.
_REMEMBERED: Final = 512
_REMEMBERED_LETTERS: Final = 128 * 1024 * 1024
#: Events of one submission follow each other closely: waiting this long writes its entry once.
_COALESCE_SECONDS: Final = 0.1
#: How often the pointer to the live generation, and the log, are looked at without a wake.
_LOOK_SECONDS: Final = 1.0


class Projection:
    """Brings one generation up to date. Two of them at once do no harm: who is older, skips."""

    def __init__(self, log: EventLog, generation: Generation, progress: Progress) -> None:
        self._log = log
        self.generation = generation
        self.progress = progress
        self.events = 0
        self.damaged = 0
        self._known: OrderedDict[str, tuple[Submission, int]] = OrderedDict()
        self._letters: dict[str, int] = {}

    async def advance(self, *, seconds: float | None = None) -> None:
        """Fold from the position to the log's end, or for some seconds. Raises LogUnavailable."""
        until = None if seconds is None else time.monotonic() + seconds
        stretch = Stretch()
        async for item in read_all(self._log, after=self.progress.sequence):
            stretch.add(item)
            if _is_full(stretch):
                await self._apply(stretch)
                stretch = Stretch()
                if until is not None and time.monotonic() > until:
                    return
        if stretch.last:
            await self._apply(stretch)

    async def _apply(self, stretch: Stretch) -> None:
        """Entries first, then the checkpoint: after a crash between them events are skipped."""
        slots = asyncio.Semaphore(_WRITES)

        opened = stretch.opened

        async def one(submission_id: str, events: list[AnyEvent]) -> None:
            nonlocal opened
            async with slots:
                if not await self._update(submission_id, events):
                    # It was open in no count: its beginning has left the log.
                    opened += sum(event.event in TERMINAL for event in events)

        async with asyncio.TaskGroup() as group:
            for submission_id, events in stretch.by_submission.items():
                group.create_task(one(submission_id, events))
        opened += await self._unasked(stretch.answers)
        for environment_id, uses in stretch.by_environment.items():
            await self.generation.used(environment_id, partial(used, events=uses))
        progress = Progress(sequence=stretch.last, open=self.progress.open + opened)
        await self.generation.set_progress(progress)
        self.progress = progress
        self.events += stretch.events
        self.damaged += stretch.damaged

    async def _unasked(self, answers: list[DepsBuilt | CancelRequested]) -> int:
        """How many answers were open in no count: their asking has left the log."""
        if not answers or (await self._log.extent()).first <= 1:
            return 0
        count = 0
        for answer in answers:
            upto = answer.sequence - 1
            told = await events_of(self._log, answer.submission_id, upto=upto, root=WARM)
            count += not any(isinstance(event, DepsQueued) for event in told)
        return count

    async def _update(self, submission_id: str, events: list[AnyEvent]) -> bool:
        """False: these are the rest of a story that began in the archive, and get no entry."""
        found = await self._before(submission_id, events)
        if found is None:
            return False
        before, revision = found
        state = fold_all(events, before)
        if state.sequence > before.sequence:
            state, revision = await self._write(state, revision)
            self._remember(state, revision)
        if begins(events):
            await self.generation.note(events[0].sequence, submission_id)
        return True

    def _remember(self, state: Submission, revision: int) -> None:
        self._known.pop(state.id, None)
        self._letters.pop(state.id, None)
        if not state.ended:
            self._known[state.id] = state, revision
            self._letters[state.id] = letters(state)
        while len(self._known) > _REMEMBERED or sum(self._letters.values()) > _REMEMBERED_LETTERS:
            oldest, _ = self._known.popitem(last=False)
            del self._letters[oldest]

    async def _before(
        self, submission_id: str, events: list[AnyEvent]
    ) -> tuple[Submission, int] | None:
        """The state before these events, and the revision of its entry.

        None: there is no beginning, since the log's own has been archived.
        """
        if submission_id in self._known:
            return self._known[submission_id]
        if begins(events):
            return NOTHING, 0
        found = await self.generation.get(submission_id)
        if found is None:
            # Somebody has cleared this generation: never write a part of a story as the whole.
            earlier = await events_of(self._log, submission_id, upto=events[0].sequence - 1)
            if not earlier and (await self._log.extent()).first > 1:
                return None
            return fold_all(earlier), 0
        stored, revision = found
        if stored.submission.sequence >= events[-1].sequence or not stored.elided:
            return stored.submission, revision
        whole = await events_of(self._log, submission_id, upto=events[0].sequence - 1)
        return fold_all(whole), revision

    async def _write(self, state: Submission, revision: int) -> tuple[Submission, int]:
        """Write unless something as new is there; what is there then.

        Refused, the entry that we began with was old, as a replica that is behind may show it:
        what we have made of it may lack events, so all of them are folded again.
        """
        while True:
            written = await self._put(state, revision)
            if written is not None:
                return state, written
            state = fold_all(await events_of(self._log, state.id, upto=state.sequence))
            found = await self.generation.get(state.id)
            revision = 0
            if found is not None:
                stored, revision = found
                if stored.submission.sequence >= state.sequence:
                    return state, revision

    async def _put(self, state: Submission, revision: int) -> int | None:
        """What the server takes for too large is kept cut: the log is there, and the next waits."""
        try:
            return await self.generation.put(entry(state), revision)
        except EntryTooLarge as error:
            _LOGGER.error("%s; the entry is cut", error)  # noqa: TRY400 - it names what and how
            return await self.generation.put(least(state), revision)


def _is_full(stretch: Stretch) -> bool:
    return stretch.events + stretch.damaged >= _STRETCH or stretch.letters >= _STRETCH_LETTERS


async def serve(
    log: EventLog, model: ReadModel, wake: asyncio.Event, stop: asyncio.Event | None = None
) -> None:
    """Keep the live generation up to date, for ever. A rebuild's switch is seen within a second.

    `stop` is looked at in each turn. To cancel is not enough: until Python 3.12 `asyncio.wait_for`
    loses a cancellation that comes with its result, and nats-py waits so for every answer. (Nor
    does the task's own count of cancellations tell: a TaskGroup whose child fails raises it.)
    """
    projection: Projection | None = None
    looked = 0.0
    while stop is None or not stop.is_set():
        wake.clear()
        failed = False
        try:
            if projection is None or time.monotonic() - looked > _LOOK_SECONDS:
                projection = await _live(log, model, projection)
                looked = time.monotonic()
            await projection.advance(seconds=_LOOK_SECONDS)
        except* LogUnavailable as errors:
            _LOGGER.warning("the read model waits: %s; trying again", errors.exceptions[0])
            projection, failed = None, True
        if not failed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await wake.wait()
        await asyncio.sleep(_LOOK_SECONDS if failed else _COALESCE_SECONDS)


async def _live(log: EventLog, model: ReadModel, now: Projection | None) -> Projection:
    generation = await model.live()
    if now is not None and now.generation.name == generation.name:
        return now
    progress = await generation.progress()
    _LOGGER.info(
        "projecting into generation %s from sequence %d", generation.name, progress.sequence
    )
    return Projection(log, generation, progress)
