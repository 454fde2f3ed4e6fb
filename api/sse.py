"""A submission's events as they come: Server-Sent Events, resumable, without gap or double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import orjson
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.problems import Fault, invalid
from api.views import event as shown
from streams.errors import LogUnavailable
from streams.events import ROOT, TERMINAL, AnyEvent
from streams.live import Follower, Heard, Live
from streams.log import EventLog
from streams.replay import told

_RETRY_MS: Final = 1000
#: When the log could not be read after a wake.
_READ_AGAIN_SECONDS: Final = 1.0


def _terminal(event: AnyEvent) -> bool:
    return event.event in TERMINAL


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
        last: Callable[[AnyEvent], bool] = _terminal,
        ended: bool = False,
    ) -> AsyncIterator[bytes]:
        """Listens first and reads the log then, so that nothing falls between; drops doubles.

        A live event is sent as it comes where it follows on what was sent. Any other, a silence
        and a gap have the log read: it tells whether there was more to hear. The stream ends after
        an event that is the `last`; where the story has `ended`, once all is sent.
        """
        yield f"retry: {_RETRY_MS}\n\n".encode()
        with self._live.follow(submission_id, root) as follower:
            seen, heard = after, None
            while True:
                pause = self._heartbeat_seconds
                try:
                    async for event in self._since(seen, heard, submission_id, root):
                        if event.sequence > seen:
                            seen = event.sequence
                            yield _line(event)
                        if last(event):
                            return
                except LogUnavailable:  # it comes back, and then we read on
                    pause = min(pause, _READ_AGAIN_SECONDS)
                else:
                    if ended:
                        return
                heard, silence = await _next(follower, pause)
                if self._stopping.is_set():
                    return
                if silence:
                    yield KEEPALIVE_COMMENT

    async def _since(
        self, seen: int, heard: Heard | None, submission_id: str, root: str
    ) -> AsyncIterator[AnyEvent]:
        if heard is not None and (heard.event.sequence <= seen or heard.follows(seen)):
            yield heard.event
            return
        async for event in told(self._log, submission_id, after=seen, root=root):
            yield event


async def _next(follower: Follower, seconds: float) -> tuple[Heard | None, bool]:
    """What is heard, None where the log has to be read; and whether the time is over."""
    try:
        return await asyncio.wait_for(follower.next(), seconds), False
    except TimeoutError:
        return None, True


def _line(event: AnyEvent) -> bytes:
    return format_sse_event(
        id=str(event.sequence), event=event.event, data_str=orjson.dumps(shown(event)).decode()
    )


async def seen(log: EventLog, reached: int, *, last_event_id: str | None, after: int) -> int:
    """The event after which a stream goes on; `reached`: the last that its story has.

    One beyond the log was never sent from it, and from there nothing would ever be sent. Who
    asks so is told (Problem 422). A browser repeats by itself what it heard from a log that has
    been restored from an older copy since: it is told all of the story.
    """
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdecimal()):
        raise invalid([Fault("header/Last-Event-ID", "must be an event's id, a whole number")])
    position = int(last_event_id[:18]) if last_event_id else after
    if position <= reached or position <= (newest := await log.last_sequence()):
        return position
    if last_event_id:
        return 0
    remedy = (
        f"is {position}, and the log ends at {newest}: send the id of the last event seen, or 0"
    )
    raise invalid([Fault("query/after", remedy)])
