"""Reading the log to its end in spite of damage: what is no event is reported and stepped over.

The projector, the audit and the API read so, each of them for ever; one bad message must not stop
them, and must not go unseen either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from streams import events
from streams.connection import NatsSettings, connect
from streams.errors import LogUnavailable, Undecodable
from streams.events import AnyEvent
from streams.live import subscribed
from streams.log import EventLog

#: What a service hands around without speaking NATS itself.
Connection = Client

_PATIENCE_SECONDS: Final = 5.0
_LOGGER: Final = logging.getLogger(__name__)


@asynccontextmanager
async def reached(settings: NatsSettings, *, name: str) -> AsyncIterator[Connection]:
    """For a command that a person waits for: a connection within seconds, or LogUnavailable.

    A service uses `connect`, which tries for ever.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                client = await stack.enter_async_context(connect(settings, name=name))
        except TimeoutError as error:
            raise LogUnavailable(f"connect to {settings.nats_url}", "no answer") from error
        yield client


async def read_all(
    log: EventLog,
    *,
    subject: str = ">",
    after: int = 0,
    upto: int | None = None,
) -> AsyncIterator[AnyEvent | Undecodable]:
    """As `EventLog.read`, of all stories, an Undecodable in the place of what is no event."""
    while True:
        try:
            async for event in log.read(subject=subject, after=after, upto=upto):
                after = event.sequence
                yield event
        except Undecodable as error:
            _LOGGER.error(  # noqa: TRY400 - the trace says nothing about the message
                "message %d of the log is no event: %s", error.sequence, error.cause
            )
            after = error.sequence
            yield error
        else:
            return


async def events_of(
    log: EventLog,
    submission_id: str,
    *,
    after: int = 0,
    upto: int | None = None,
    root: str = events.ROOT,
) -> list[AnyEvent]:
    """The readable events of one submission, in order, as new as the log's leader has them."""
    subject = events.guard(submission_id, root)

    def read() -> AsyncIterator[AnyEvent | Undecodable]:
        return read_all(log, subject=subject, after=after)

    return [
        event
        for event in await log.fresh(subject, read, after=after)
        if not isinstance(event, Undecodable) and (upto is None or event.sequence <= upto)
    ]


async def told(
    log: EventLog, submission_id: str, *, after: int = 0, root: str = events.ROOT
) -> AsyncIterator[AnyEvent]:
    """As `events_of`, each as it is read: a story may be larger than anyone wants to hold."""
    subject = events.guard(submission_id, root)

    def read(after: int) -> AsyncIterator[AnyEvent | Undecodable]:
        return read_all(log, subject=subject, after=after)

    async for event in log.in_turn(subject, read, after=after):
        if not isinstance(event, Undecodable):
            yield event


@asynccontextmanager
async def woken(client: Client) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever the log has accepted something: a hint to read on."""
    wake = asyncio.Event()

    async def on_message(_message: Msg) -> None:
        wake.set()

    async with subscribed(client, on_message):
        yield wake
