"""The worker's work: leased submissions, one container each, every step an event.

One puller, a fixed number of slots: nothing is leased that could not begin at once. Trouble with
one submission is that submission's; trouble with the log or the engine is waited out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final, assert_never, cast

from streams import events
from streams.blobs import Blobs
from streams.cancels import heard, tell_runner
from streams.errors import Conflict, LogUnavailable, StreamsError
from streams.fold import Submission
from streams.log import EventLog
from streams.queues import CANCELS, FALLBACK, WORKERS, Delivery, Queue, deliveries
from worker.attempt import Attempt
from worker.cancel import cancel
from worker.decide import Cancel, Finish, GiveUp, Ignore, Run, decide, last_start, leads, remaining
from worker.ending import ending, told
from worker.errors import AttemptFailed, TakenOver
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
        *,
        by: str,
        store: Any,
        slots: int,
        attempts: int,
        build_deadline_seconds: float,
        grace_seconds: float,
    ) -> None:
        self._client = client
        self._log = log
        self._blobs = Blobs(client)
        self._pool = pool
        self._by = by
        self._store = store
        self._slots = asyncio.Semaphore(slots)
        self._slot_count = slots
        self._attempts = attempts
        self._build_deadline_seconds = build_deadline_seconds
        self._grace_seconds = grace_seconds
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

    # The three queues.

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
                pulled = deliveries(
                    self._client, queue, batch=batch, every_seconds=every_seconds
                )
                async with aclosing(cast("_Deliveries", pulled)) as messages:
                    async for delivery in messages:
                        rest = _REST_SECONDS[0]
                        yield delivery
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever it is
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

    # One submission.

    async def _in_a_slot(self, delivery: Delivery) -> None:
        look = asyncio.Event()
        async with delivery.kept_alive(look.set), self._slots:
            try:
                await self._patiently(delivery, self._carry(delivery, look))
            except asyncio.CancelledError:
                # We are being stopped: another worker shall have it now, not after the lease.
                with suppress(Exception):
                    await delivery.later(0)
                raise

    async def _carry(self, delivery: Delivery, look: asyncio.Event) -> None:
        """Attempt after attempt until there is a terminal event; then the message is done.

        `look` is set when the log may hold a reason to stop: a cancel, or a successor of ours.

        An ack would take the message from another worker who holds it by now: so it comes only
        after a terminal event is in the log, and never from one who was taken over.
        """
        id_ = delivery.event.submission_id
        failure: str | None = None
        state = await self._log.state(id_, reaching=delivery.event.sequence)
        begun = _begun(state)
        while True:
            decision = decide(state, delivery.event, attempts=self._attempts, failure=failure)
            match decision:
                case Ignore(why):
                    _LOGGER.info("%s: nothing to do: %s", id_, why)
                    await delivery.done()
                    return
                case Run() | GiveUp() if failure is None and await self._lives(state):
                    # Not a word to the queue: the lease that was missed is renewed again.
                    _LOGGER.warning("%s: delivered again, but whoever runs it answers", id_)
                    return
                case Run():
                    attempt = self._attempt(state, decision)
                    failure = await self._run(attempt, state, decision, look)
                    if attempt.finished:
                        await delivery.done()
                        return
                    begun = attempt.started or begun
                case Finish() | Cancel() | GiveUp():
                    event = ending(state, decision, self._by)
                    with suppress(Conflict):
                        await self._log.append(event, after=state.sequence)
                        _LOGGER.info("%s: %s %s", id_, event.event, told(decision))
                        await delivery.done()
                        return
                case _:
                    assert_never(decision)
            state = await self._state(id_)
            if not (state.ended or state.cancel_requested) and _begun(state) != begun:
                raise TakenOver(id_)

    async def _lives(self, state: Submission) -> bool:
        """Whether the last attempt still has someone who runs it, whatever became of its lease.

        A process that was frozen wakes up with deliveries that it was given meanwhile, and with
        attempts of its own that nobody has taken over: neither may end a living one.
        """
        return state.attempts > 0 and await tell_runner(self._client, state.id)

    def _attempt(self, state: Submission, run: Run) -> Attempt:
        return Attempt(
            self._log,
            self._blobs,
            state,
            run,
            by=self._by,
            store=self._store,
            grace_seconds=self._grace_seconds,
        )

    async def _run(
        self, attempt: Attempt, state: Submission, run: Run, look: asyncio.Event
    ) -> str | None:
        """One attempt, which the log can stop; returns why it was lost through our fault."""
        # Heard before `started` is said: so the guard puts a cancel and the start in order.
        async with heard(self._client, state.id, look.set):
            task = asyncio.create_task(self._in_a_container(attempt, state.id, run))
            try:
                while not task.done():
                    looking = asyncio.create_task(look.wait())
                    await asyncio.wait((task, looking), return_when=asyncio.FIRST_COMPLETED)
                    looking.cancel()
                    if look.is_set() and not task.done():
                        look.clear()
                        if _is_over(await self._state(state.id), attempt):
                            return None
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            return _loss(task, attempt)

    async def _in_a_container(self, attempt: Attempt, id_: str, run: Run) -> None:
        began = time.monotonic()
        async with self._store.held(run.environment) as missing, self._pool.take() as box:
            if missing is not None:
                _LOGGER.warning("%s: a cache miss: %s; building in the container", id_, missing)
                attempt.miss(missing)
            _LOGGER.info(
                "%s: attempt %d in %s%s",
                id_, run.attempt, box.name,
                f", because {run.retry_because}" if run.retry_because else "",
            )  # fmt: skip
            verdict = await attempt.perform(box)
        _LOGGER.info("%s: finished %s after %.3f s", id_, verdict, time.monotonic() - began)

    async def _state(self, submission_id: str) -> Submission:
        """The fold, as soon as the log answers."""
        rest, longest = _REST_SECONDS
        while True:
            try:
                return await self._log.state(submission_id)
            except LogUnavailable as error:
                _LOGGER.warning("%s; again in %.1f s", error, rest)
                await asyncio.sleep(rest)
                rest = min(2 * rest, longest)


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _begun(state: Submission) -> int | None:
    start = last_start(state)
    return None if start is None else start.sequence


def _is_over(state: Submission, attempt: Attempt) -> bool:
    """Whether the log wants no more of this attempt."""
    succeeded = attempt.started is not None and _begun(state) != attempt.started
    return state.ended or state.cancel_requested or succeeded


def _loss(task: asyncio.Task[None], attempt: Attempt) -> str | None:
    """What became of an attempt: None when it ended, or when the log goes on without it.

    An error before `started` cost no attempt and is raised; after it, it is the reason of the next.
    """
    error = task.exception()
    if error is None or isinstance(error, Conflict):
        return None
    if attempt.started is None or not isinstance(error, Exception):
        raise error
    if isinstance(error, AttemptFailed | StreamsError):
        _LOGGER.error("%s: attempt lost: %s", attempt.id, error)
    else:
        _LOGGER.error("%s: attempt lost", attempt.id, exc_info=error)
    return str(error) if isinstance(error, AttemptFailed) else repr(error)
