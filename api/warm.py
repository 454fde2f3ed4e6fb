"""Environments that are wanted before anybody submits them: one story each, below `environments.`.

The id is the environment's own, so asking twice while it is being built is asking once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from api.bound import Bound
from api.problems import too_large
from api.request import Shell
from api.submit import EVENT_BYTES, by
from streams.blobs import Blobs
from streams.errors import Conflict, LogUnavailable
from streams.events import WARM, DepsQueued, encode
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

    async def warm(self, shell: Shell) -> tuple[Submission, bool]:
        """The story so far, and whether it was under way before.

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
        )
        if len(encode(event)) > EVENT_BYTES:
            raise too_large(EVENT_BYTES)
        for _ in range(_TRIES):
            state = await self.story(shell.environment_id)
            if state.status is Status.DEPS_QUEUED:
                return state, True
            await self._bound.check()
            await self._blobs.put_all(shell.blobs)
            try:
                sequence = await self._log.append(event, after=state.sequence)
            except Conflict:
                continue
            self._bound.accepted(sequence)
            return fold(state, event.model_copy(update={"sequence": sequence})), False
        raise LogUnavailable(f"warm {shell.environment_id}", f"refused {_TRIES} times in a row")

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
