"""What a submission is now, was, or will have become: read model first, the log for the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from api.ids import well_formed
from api.problems import Problem, archived, unknown_submission
from streams.archived import Register
from streams.errors import LogUnavailable
from streams.events import TERMINAL
from streams.fold import NOTHING, Submission, fold_all
from streams.live import Live
from streams.log import EventLog
from streams.readmodel import Generation, ReadModel
from streams.replay import events_of

#: How long the name of the live generation is believed: a rebuild switches it.
_BELIEVE_SECONDS: Final = 1.0
#: Live events are a hint: whoever waits reads the log this often too.
_READ_AGAIN_SECONDS: Final = 5.0
#: Looks at the log at the same time; the others wait, and their time-outs with them.
_READS: Final = 32

Gone = Callable[[], Awaitable[bool]]


class States:
    """Reads submissions. Never behind what this API has answered before: the log has the word."""

    def __init__(
        self,
        log: EventLog,
        model: ReadModel,
        register: Register,
        live: Live,
        *,
        stopping: asyncio.Event,
    ) -> None:
        self._log = log
        self._model = model
        self._register = register
        self._live = live
        self._stopping = stopping
        self._generation: Generation | None = None
        self._believed_until = 0.0
        self._reads = asyncio.Semaphore(_READS)

    async def now(self, submission_id: str) -> Submission:
        """Its state by the log's end. Raises Problem 404, LogUnavailable."""
        state = await self.find(submission_id)
        if state is None:
            raise unknown_submission(submission_id)
        return state

    async def outline(self, submission_id: str) -> Submission:
        """As `now`; a large one may be without contents, runs, and the middle of its timeline."""
        return (await self.look(submission_id))[0]

    async def look(self, submission_id: str) -> tuple[Submission, bool]:
        """Its outline, and whether that is all of it. Raises Problem 404, 410, LogUnavailable."""
        state, whole = await self._look(submission_id, contents=False)
        if state is None:
            raise unknown_submission(submission_id)
        return state, whole

    async def find(self, submission_id: str) -> Submission | None:
        """The read model's entry and the events since; all events where the entry is no help.

        Raises Problem 410 for one whose events have left the log.
        """
        return (await self._look(submission_id, contents=True))[0]

    async def _look(self, submission_id: str, *, contents: bool) -> tuple[Submission | None, bool]:
        """Also whether all of it is there, which it is where `contents` are asked for."""
        if not well_formed(submission_id):
            return None, True
        async with self._reads:
            known, whole = await self._entry(submission_id, contents=contents)
            if known.ended and whole:
                return known, whole
            since = await events_of(self._log, submission_id, after=known.sequence)
        state = fold_all(since, known)
        if state.request is None or not whole:  # its beginning, or all of it, may have left the log
            gone = await self._register.find(submission_id)
            if gone is not None:
                raise archived(gone.id, gone.period)
        return (state if state.sequence else None), whole

    async def at(self, submission_id: str, sequence: int) -> Submission:
        """Its state after the event with this sequence, or the last before it."""
        if not well_formed(submission_id):
            raise unknown_submission(submission_id)
        state = fold_all(await events_of(self._log, submission_id, upto=sequence))
        if state.request is None:
            await self.now(submission_id)
        if not state.sequence:
            raise Problem(404, f"submission {submission_id} did not exist at sequence {sequence}")
        return state

    async def ended(
        self, submission_id: str, seconds: float, gone: Gone, *, known: Submission | None = None
    ) -> tuple[Submission, bool]:
        """As `look`, at its end, or when `seconds` are over or the client is gone.

        While the log is away the last known state stands: who waits has patience already.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._live.listen(submission_id) as queue:
            state, whole = await self._newer(submission_id, known)
            while not state.ended and (left := deadline - loop.time()) > 0:
                if self._stopping.is_set():
                    break
                pause = self._live.pause_seconds(_READ_AGAIN_SECONDS)
                try:
                    event = await asyncio.wait_for(queue.get(), min(left, pause))
                except TimeoutError:
                    if await gone():
                        break
                    event = None
                # A live event only wakes us: what was missed before it is in the log.
                if event is None or event.event in TERMINAL:
                    state, whole = await self._newer(submission_id, state, whole=whole)
        return state, whole

    async def _newer(
        self, submission_id: str, known: Submission | None, *, whole: bool = True
    ) -> tuple[Submission, bool]:
        """Its outline by now, and whether that is all of it: who waits shows it once."""
        try:
            return await self.look(submission_id)
        except LogUnavailable:
            if known is None:
                raise
            return known, whole

    async def generation(self) -> Generation:
        """The read model's live generation."""
        if self._generation is None or time.monotonic() > self._believed_until:
            self._generation = await self._newest(self._generation)
            self._believed_until = time.monotonic() + _BELIEVE_SECONDS
        return self._generation

    async def _newest(self, now: Generation | None) -> Generation:
        """The live one, as soon as it has come as far as the one that was: no list goes back."""
        live = await self._model.live()
        if now is None or now.name == live.name:
            return live
        return live if await live.checkpoint() >= await now.checkpoint() else now

    async def _entry(self, submission_id: str, *, contents: bool) -> tuple[Submission, bool]:
        """What the read model has, or nothing: it is a short cut and may be behind or absent."""
        try:
            found = await (await self.generation()).get(submission_id)
        except (LogUnavailable, ValueError):  # not there, or of another version: the log has it
            return NOTHING, True
        if found is None or (found[0].elided and contents):
            return NOTHING, True
        return found[0].submission, not found[0].elided
