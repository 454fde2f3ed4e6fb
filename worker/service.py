"""The worker's work: what its three queues deliver, for as long as it runs.

One puller, a fixed number of slots: nothing is leased that could not begin at once. Trouble with
one submission is that submission's; trouble with the log or the engine is waited out. The way of
one submission is `carrier.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final, cast

from streams import events
from streams.errors import StreamsError
from streams.log import EventLog
from streams.queues import CANCELS, FALLBACK, WORKERS, Delivery, Queue, deliveries
from worker.cancel import cancel
from worker.carrier import Carrier
from worker.decide import leads, remaining
from worker.errors import TakenOver
from worker.pool import Pool

_LOGGER: Final = logging.getLogger(__name__)
#: How long a loop, or a message, rests after trouble: first, and at most.
_REST_SECONDS: Final = (0.5, 15.0)
_NO_ROOM_SECONDS: Final = 2.0
#: Deadlines are kept to within this.
_DEADLINE_SECONDS: Final = 1.0
_CANCELS_AT_ONCE: Final = 32
_Deliveries = AsyncGenerator[Delivery, None]


class Service:
    """Takes what the queues deliver, for as long as `serve` runs.

    `client` is the connection to NATS (its type is at home in `streams/`).
    """

    def __init__(
        self,
        client: Any,
        log: EventLog,
        pool: Pool[Any],
        carrier: Carrier,
        *,
        by: str,
        slots: int,
        build_deadline_seconds: float,
    ) -> None:
        self._client = client
        self._log = log
        self._pool = pool
        self._carrier = carrier
        self._by = by
        self._slots = asyncio.Semaphore(slots)
        self._slot_count = slots
        self._build_deadline_seconds = build_deadline_seconds
        self._carried: set[asyncio.Task[None]] = set()
        self._cancels: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take work until cancelled; what has begun goes on, see `drain`."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._take_work())
            loops.create_task(self._watch_deadlines())
            loops.create_task(self._watch_cancels())

    async def drain(self, seconds: float) -> None:
        """Let what runs come to its end; what has not by then is handed to other workers."""
        if self._carried:
            _LOGGER.info("draining %d submissions, at most %g s", len(self._carried), seconds)
            await asyncio.wait(self._carried, timeout=seconds)
        rest = self._carried | self._cancels
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _take_work(self) -> None:
        await self._pool.available()
        async with aclosing(self._deliveries(WORKERS)) as queue:
            async for delivery in queue:
                _spawn(self._in_a_slot(delivery), self._carried)
                await self._pool.available()
                async with self._slots:
                    pass

    async def _watch_deadlines(self) -> None:
        """Each queued environment comes back at its deadline: without a builder, we build.

        Looked at now and then: a worker that woke for each would take the processor from the
        builder that is about to answer (a fifth of a hit's time on two cores).
        """
        pulled = self._deliveries(FALLBACK, batch=64, every_seconds=_DEADLINE_SECONDS)
        async with aclosing(pulled) as queue:
            async for delivery in queue:
                await self._patiently(delivery, self._at_deadline(delivery))

    async def _at_deadline(self, delivery: Delivery) -> None:
        left = remaining(
            delivery.event,
            events.now(),
            self._build_deadline_seconds,
            delivered=delivery.delivered,
        )
        if left > 0:
            await delivery.later(left)
            return
        event = delivery.event
        state = await self._log.state(event.submission_id, reaching=event.sequence)
        if state.ended or not leads(state, delivery.event):
            await delivery.done()
        elif len(self._carried) >= 2 * self._slot_count:
            await delivery.later(_NO_ROOM_SECONDS)
        else:
            _LOGGER.warning("%s: no builder in time; building in the container", state.id)
            _spawn(self._in_a_slot(delivery), self._carried)

    async def _watch_cancels(self) -> None:
        room = asyncio.Semaphore(_CANCELS_AT_ONCE)

        async def one(delivery: Delivery) -> None:
            async with room:
                work = cancel(self._client, self._log, delivery, by=self._by)
                await self._patiently(delivery, work)

        async with aclosing(self._deliveries(CANCELS)) as queue:
            async for delivery in queue:
                _spawn(one(delivery), self._cancels)
                async with room:
                    pass

    async def _deliveries(
        self, queue: Queue, *, batch: int = 1, every_seconds: float = 0.0
    ) -> _Deliveries:
        """Messages for ever: one that can't be read is passed over, trouble is waited out."""
        rest, longest = _REST_SECONDS
        while True:
            try:
                pulled = deliveries(self._client, queue, batch=batch, every_seconds=every_seconds)
                async with aclosing(cast("_Deliveries", pulled)) as messages:
                    async for delivery in messages:
                        rest = _REST_SECONDS[0]
                        yield delivery
            except Exception as error:  # the loop outlives whatever it is
                if self._client.is_closed:
                    raise
                _LOGGER.warning("queue %s: %r; next try in %.1f s", queue.name, error, rest)
                await asyncio.sleep(rest)
                rest = min(2 * rest, longest)

    async def _patiently(self, delivery: Delivery, work: Awaitable[None]) -> None:
        """Do the work of one message; after trouble the message comes again."""
        try:
            await work
        except TakenOver as error:
            # Not a word to the queue: the message is the other's now.
            _LOGGER.warning("%s; leaving it alone", error)
        except Exception as error:
            first, longest = _REST_SECONDS
            rest = min(first * 2 ** min(delivery.delivered, 10), longest)
            expected = isinstance(error, StreamsError)
            _LOGGER.error(  # noqa: TRY400 - what we know of needs no traceback
                "%s: %r; again in %.1f s",
                delivery.event.submission_id, error, rest, exc_info=not expected,
            )  # fmt: skip
            with suppress(Exception):
                await delivery.later(rest)

    async def _in_a_slot(self, delivery: Delivery) -> None:
        look = asyncio.Event()
        async with delivery.kept_alive(look.set), self._slots:
            try:
                await self._patiently(delivery, self._carrier.carry(delivery, look))
            except asyncio.CancelledError:
                # We are being stopped: another worker shall have it now, not after the lease.
                with suppress(Exception):
                    await delivery.later(0)
                raise


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
