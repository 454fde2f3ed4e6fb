"""Durable work queues on the event log: a lease is an ack deadline, kept alive while work goes on.

A dead holder's message goes to another after the deadline. The consumers themselves are made by
the set-up (`setup.py`), never by a service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from streams import events
from streams.errors import LogUnavailable, Undecodable
from streams.events import AnyEvent

_LOGGER: Final = logging.getLogger(__name__)
#: How long one pull waits on the server. Never for ever: a pull does not survive its restart.
_PULL_SECONDS: Final = 5.0
#: And so long by who only takes what there is.
_GLANCE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Queue:
    """One durable consumer: who takes which events."""

    name: str
    filters: tuple[str, ...]
    meaning: str

    def config(self, lease_seconds: float) -> ConsumerConfig:
        """No limit of deliveries: the worker itself counts attempts and records why it gave up."""
        return ConsumerConfig(
            durable_name=self.name,
            description=self.meaning,
            filter_subjects=list(self.filters),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=lease_seconds,
            deliver_policy=DeliverPolicy.ALL,
            max_deliver=-1,
            # More than all holders together: what waits for its deadline counts as pending too.
            max_ack_pending=100_000,
            max_waiting=4096,
        )


BUILDERS: Final = Queue(
    "builders",
    (f"{events.ROOT}.*.deps-queued",),
    "environments that a builder is to build",
)
WARMING: Final = Queue(
    "warming",
    (f"{events.WARM}.*.deps-queued",),
    "environments that a builder is to build before anybody submits them",
)
WORKERS: Final = Queue(
    "workers",
    (f"{events.ROOT}.*.deps-built", f"{events.ROOT}.*.submitted.uncached"),
    "submissions that a worker is to run",
)
FALLBACK: Final = Queue(
    "fallback",
    (f"{events.ROOT}.*.deps-queued",),
    "the deadline of each queued environment: past it a worker builds in the container",
)
CANCELS: Final = Queue(
    "cancels",
    (f"{events.ROOT}.*.cancel-requested",),
    "cancels: a worker ends what nobody runs, and reminds who runs it",
)
QUEUES: Final = (BUILDERS, WARMING, WORKERS, FALLBACK, CANCELS)


class Delivery:
    """One message of a queue, leased to us until its ack deadline."""

    def __init__(self, message: Msg, event: AnyEvent, lease_seconds: float) -> None:
        self._message = message
        self._lease_seconds = lease_seconds
        self.event = event
        self.delivered = message.metadata.num_delivered

    @asynccontextmanager
    async def kept_alive(self, lapsed: Callable[[], None] | None = None) -> AsyncIterator[None]:
        """Renews the lease at a third of its length, for as long as the block runs.

        `lapsed` is called when a renewal came too late, because the process did not run: the
        message may be another's by now.
        """
        task = asyncio.create_task(self._renew(lapsed))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def done(self) -> None:
        """The work is in the log: forget the message. Publish first, then call this.

        A late ack clears the message for everyone, so it must never come before the event. When
        the ack itself is lost the message comes again, and the fold says that nothing is to do.
        """
        try:
            await self._message.ack_sync()
        except (NatsError, OSError) as error:
            subject = self._message.subject
            _LOGGER.warning("ack of %s: %r; it will be delivered again", subject, error)

    async def later(self, seconds: float) -> None:
        """Deliver it again after exactly `seconds`."""
        await self._message.nak(delay=seconds)

    async def _renew(self, lapsed: Callable[[], None] | None) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(self._lease_seconds / 3)
            if lapsed is not None and time.monotonic() - began > self._lease_seconds:
                lapsed()
            try:
                await self._message.in_progress()
            except (NatsError, OSError) as error:
                _LOGGER.warning("lease of %s: %r", self._message.subject, error)


async def deliveries(
    client: Client,
    queue: Queue,
    *,
    batch: int = 1,
    every_seconds: float = 0.0,
    lease_seconds: float | None = None,
) -> AsyncIterator[Delivery]:
    """Messages of one queue, as they come, for ever. Cancel the task to stop.

    Take `batch` above 1 only where each message takes no time: what waits here is leased to us.
    With `every_seconds` no message wakes us: so often we take what there is, and rest. Raises
    LogUnavailable when the connection is closed for good.
    """
    wait = _GLANCE_SECONDS if every_seconds else _PULL_SECONDS
    js = client.jetstream()
    while True:
        try:
            lease = lease_seconds or await _lease(js, queue)
            async with _subscribed(js, queue) as subscription:
                while True:
                    try:
                        messages = await pulled(subscription, batch, wait)
                    except TimeoutError:  # nats-py raises its own and, late by a hair, Python's
                        await asyncio.sleep(every_seconds)
                        continue
                    for message in messages:
                        delivery = await _delivery(message, lease)
                        if delivery is not None:
                            yield delivery
        except (NatsError, OSError) as error:
            if client.is_closed:  # for good: whoever starts us again makes a new connection
                raise LogUnavailable(f"pull from {queue.name}", "connection closed") from error
            _LOGGER.warning("pull from %s: %r; trying again", queue.name, error)
            await asyncio.sleep(0.5)


async def pulled(
    subscription: JetStreamContext.PullSubscription, batch: int, wait_seconds: float
) -> list[Msg]:
    """At most `batch` messages. Raises TimeoutError when none came, and CancelledError surely.

    In a task of its own: until Python 3.12 `asyncio.wait_for`, with which nats-py waits, loses a
    cancellation that comes together with its result, and who pulls for ever would go on for ever.
    """
    task = asyncio.create_task(subscription.fetch(batch, timeout=wait_seconds))
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, list):  # another shall have them now, not after the lease
            for message in result:
                with suppress(NatsError, OSError):
                    await message.nak()
        raise
    return task.result()


@asynccontextmanager
async def _subscribed(
    js: JetStreamContext, queue: Queue
) -> AsyncIterator[JetStreamContext.PullSubscription]:
    """Taken back at the end: a cancelled pull would take the next message for a whole lease."""
    subscription = await js.pull_subscribe_bind(consumer=queue.name, stream=events.STREAM)
    try:
        yield subscription
    finally:
        with suppress(NatsError, OSError):
            await subscription.unsubscribe()


async def _delivery(message: Msg, lease: float) -> Delivery | None:
    """What was delivered; a message that is no event is said loudly and never comes again."""
    try:
        event = _event(message)
    except Undecodable as error:
        _LOGGER.error("passed over: %s", error)  # noqa: TRY400 - the cause says all
        await message.term()
        return None
    return Delivery(message, event, lease)


def _event(message: Msg) -> events.AnyEvent:
    sequence, headers = message.metadata.sequence.stream, message.headers or {}
    if events.ANSWERED in headers:
        raise Undecodable(sequence, f"nobody said it: it is an answer, sent to {message.subject}")
    return events.decode(message.data, sequence, message.subject, headers)


async def _lease(js: JetStreamContext, queue: Queue) -> float:
    info = await js.consumer_info(events.STREAM, queue.name)
    return float(info.config.ack_wait or 30.0)
