"""Environments that are wanted before anybody submits them: one story each, below `environments.`.

The id is the environment's own, so asking twice while it is being built is asking once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from api.bound import Bound
from api.problems import Problem, too_large
from api.request import Shell
from api.submit import EVENT_BYTES, by
from streams.blobs import Blobs
from streams.errors import Conflict, LogUnavailable
from streams.events import WARM, CancelRequested, DepsQueued, encode
from streams.fold import Status, Submission, fold
from streams.live import Live
from streams.log import EventLog

_TRIES: Final = 10
#: Live events are a hint: whoever waits reads the log this often too.
_READ_AGAIN_SECONDS: Final = 5.0


class Environments:
    """Asks builders for them, and waits until one has answered."""

    def __init__(self, log: EventLog, blobs: Blobs, live: Live, bound: Bound, channel: str) -> None:
        self._log = log
        self._blobs = blobs
        self._live = live
        self._bound = bound
        self._channel = channel

    async def warm(self, shell: Shell, caller: str | None) -> tuple[Submission, bool]:
        """The story so far, and whether it was under way before.

        Each caller's wish is recorded, so that no other can withdraw it.

        Raises Problem 413, 429 when too many are under way, LogUnavailable, LogFull.
        """
        event = DepsQueued(
            submission_id=shell.environment_id,
            by=by(),
            environment_id=shell.environment_id,
            channel=self._channel,
            files=shell.files,
            limits=shell.limits,
            warm=True,
            caller=caller,
        )
        if len(encode(event)) > EVENT_BYTES:
            raise too_large(EVENT_BYTES)
        for _ in range(_TRIES):
            state = await self.story(shell.environment_id)
            again = state.status is Status.DEPS_QUEUED
            if again and (caller or "") in state.wanted_by:
                return state, True
            if not again:
                await self._bound.check()
            await self._blobs.put_all(shell.blobs)
            event = event.model_copy(update={"again": again})
            try:
                sequence = await self._log.append(event, after=state.sequence)
            except Conflict:
                continue
            if not again:
                self._bound.accepted(sequence)
            return fold(state, event.model_copy(update={"sequence": sequence})), again
        raise LogUnavailable(f"warm {shell.environment_id}", f"refused {_TRIES} times in a row")

    async def cancel(self, environment_id: str, caller: str | None) -> Submission:
        """Its story without the caller's wish. Raises Problem 404 or 409, LogUnavailable.

        While others wait for it, and for submissions, its build goes on. Again is fine.
        """
        for _ in range(_TRIES):
            state = await self.story(environment_id)
            if not state.sequence:
                raise Problem(404, f"nobody has asked for environment {environment_id} by itself")
            if state.status is Status.DEPS_BUILT:
                raise Problem(
                    409,
                    f"a builder has answered for environment {environment_id} already",
                    type_="/problems/ended",
                    title="The environment's build has ended",
                )
            if (caller or "") not in state.wanted_by:
                return state
            event = CancelRequested(
                submission_id=environment_id,
                by=by(),
                warm=True,
                caller=caller,
                others=len(state.wanted_by) > 1,
            )
            try:
                sequence = await self._log.append(event, after=state.sequence)
            except Conflict:
                continue
            return fold(state, event.model_copy(update={"sequence": sequence}))
        raise LogUnavailable(f"cancel {environment_id}", f"refused {_TRIES} times in a row")

    async def story(self, environment_id: str) -> Submission:
        """The fold of the environment's own events; `NOTHING` where nobody asked for it so."""
        return await self._log.state(environment_id, WARM)

    async def answered(self, environment_id: str, seconds: float, stop: asyncio.Event) -> None:
        """Until a builder has answered, or the time is over, or we are stopping."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._live.listen(environment_id, WARM) as heard:
            while (await self.story(environment_id)).status is Status.DEPS_QUEUED:
                left = deadline - loop.time()
                if left <= 0 or stop.is_set():
                    return
                pause = self._live.pause_seconds(_READ_AGAIN_SECONDS)
                try:
                    await asyncio.wait_for(heard.get(), min(left, pause))
                except TimeoutError:
                    continue
