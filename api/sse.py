"""A submission's events as they come: Server-Sent Events, resumable, without gap or double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import Final

import orjson
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.problems import Fault, invalid
from api.views import event as shown
from streams.errors import LogUnavailable
from streams.events import ROOT, TERMINAL, AnyEvent
from streams.live import Listener, Live
from streams.log import EventLog
from streams.replay import events_of

_RETRY_MS: Final = 1000


class Stream:
    """One client's stream, from after the event that it saw last."""

    def __init__(
        self, log: EventLog, live: Live, heartbeat_seconds: float, stopping: asyncio.Event
    ) -> None:
        self._log = log
        self._live = live
        self._heartbeat_seconds = heartbeat_seconds
        self._stopping = stopping

    async def lines(
        self,
        submission_id: str,
        after: int,
        *,
        root: str = ROOT,
        last: Collection[str] = TERMINAL,
    ) -> AsyncIterator[bytes]:
        """Listens first and reads the log then, so that nothing falls between; drops doubles.

        The stream ends after an event that is called one of `last`.
        """
        yield f"retry: {_RETRY_MS}\n\n".encode()
        with self._live.listen(submission_id, root) as queue:
            seen = after
            events = await events_of(self._log, submission_id, after=seen, root=root)
            while True:
                for event in events:
                    if event.sequence <= seen:
                        continue
                    seen = event.sequence
                    yield _line(event)
                    if event.event in last:
                        return
                heard = await self._next(queue)
                if self._stopping.is_set():
                    return
                if not heard:
                    # Silence, or a gap. The log tells whether there was anything to hear.
                    yield KEEPALIVE_COMMENT
                    with suppress(LogUnavailable):  # it comes back, and then we read on
                        heard = await events_of(self._log, submission_id, after=seen, root=root)
                events = heard

    async def _next(self, queue: Listener) -> list[AnyEvent]:
        """What is heard next, or nothing after a silence or a gap."""
        try:
            event = await asyncio.wait_for(queue.get(), self._heartbeat_seconds)
        except TimeoutError:
            return []
        return [] if event is None else [event]


def _line(event: AnyEvent) -> bytes:
    return format_sse_event(
        id=str(event.sequence), event=event.event, data_str=orjson.dumps(shown(event)).decode()
    )


def seen(last_event_id: str | None, after: int) -> int:
    """The event after which a stream goes on. Raises Problem 422."""
    if not last_event_id:
        return after
    if not last_event_id.isascii() or not last_event_id.isdecimal():
        raise invalid([Fault("header/Last-Event-ID", "must be an event's id, a whole number")])
    return int(last_event_id[:18])
