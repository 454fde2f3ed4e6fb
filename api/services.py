"""What the routes work with, put together once in `__main__.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import Request

from api.answers import Answers
from api.body import Bodies
from api.bound import Bound
from api.built import Environments as BuiltEnvironments
from api.metrics import Metrics
from api.objects import Objects
from api.problems import unavailable
from api.request import Reader
from api.rules import Rules
from api.settings import ApiSettings
from api.states import States
from api.submit import Submissions
from api.warm import Environments
from streams import chunks
from streams.archived import Register
from streams.blobs import Blobs
from streams.live import Live
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import Connection
from streams.room import Room

#: A reconnection is mostly a matter of a moment; past it we say so at once, without a time-out.
_PATIENCE_SECONDS = 1.0
#: Thousands may be sent at once. Begun all together, none would be answered in time: each waits on
#: the server while this process works on all the others.
_WRITES = 32


@dataclass(frozen=True, slots=True)
class Services:
    """One of each, for the life of the process."""

    settings: ApiSettings
    rules: Rules
    client: Connection
    log: EventLog
    blobs: Blobs
    live: Live
    model: ReadModel
    states: States
    answers: Answers
    objects: Objects
    submissions: Submissions
    environments: Environments
    reader: Reader
    bodies: Bodies
    built: BuiltEnvironments
    metrics: Metrics
    stopping: asyncio.Event
    turns: asyncio.Semaphore

    def stop(self) -> None:
        """Answer who waits, end every event stream: their clients come again."""
        self.stopping.set()
        self.live.missed()


def services(settings: ApiSettings, client: Connection, live: Live, *, timeout: float) -> Services:
    """Everything over one connection."""
    log = EventLog(client, timeout=timeout)
    blobs = Blobs(client)
    model = ReadModel(client)
    stopping = asyncio.Event()
    states = States(log, model, Register(client), live, stopping=stopping)
    answers = Answers(settings)
    rooms = (log.room, Room(client, chunks.STREAM, timeout))
    bound = Bound(settings.max_open_submissions, states.generation, rooms)
    return Services(
        settings=settings,
        rules=settings.rules(),
        client=client,
        log=log,
        blobs=blobs,
        live=live,
        model=model,
        states=states,
        answers=answers,
        objects=Objects(states, blobs, answers),
        submissions=Submissions(log, blobs, states, bound, settings.channel_revision),
        environments=Environments(log, blobs, live, bound, settings.channel_revision),
        reader=Reader(settings),
        bodies=Bodies(settings),
        built=BuiltEnvironments(),
        metrics=Metrics(),
        stopping=stopping,
        turns=asyncio.Semaphore(_WRITES),
    )


def of(request: Request) -> Services:
    """The services of the app that answers this request."""
    found: Services = request.app.state.services
    return found


async def connected(request: Request) -> None:
    """Raises Problem 503 when NATS is away for longer than a moment."""
    client = of(request).client
    for _ in range(20):
        if client.is_connected:
            return
        await asyncio.sleep(_PATIENCE_SECONDS / 20)
    raise unavailable("no connection to the event log: nothing was recorded, try again")


async def tell_of_gaps(client: Connection, live: Live) -> None:
    """After each reconnection every listener reads the log: what was said meanwhile is missed."""
    seen = client.stats["reconnects"]
    while True:
        await asyncio.sleep(0.25)
        now = client.stats["reconnects"]
        if now != seen and client.is_connected:
            seen = now
            live.missed()
