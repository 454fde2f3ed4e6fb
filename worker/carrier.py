"""The way of one submission through a worker: attempts until the log has its end.

Each attempt has a container of its own; what happened last is read from the log, never remembered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, Protocol, assert_never

from streams.blobs import Blobs
from streams.cancels import heard, tell_predecessor, tell_runner
from streams.environments import Environment
from streams.errors import Conflict, LogFull, LogUnavailable, StreamsError
from streams.fold import Submission
from streams.log import EventLog
from streams.queues import Delivery
from worker.attempt import Attempt
from worker.decide import Cancel, Finish, GiveUp, Ignore, Run, begun, decide, over
from worker.ending import ending, told
from worker.errors import AttemptFailed, TakenOver
from worker.pool import Pool
from worker.room import Room, cases_at_once, memory_of

_LOGGER: Final = logging.getLogger(__name__)
#: How long the log rests after it did not answer: first, and at most.
_REST_SECONDS: Final = (0.5, 15.0)


class Memory(Protocol):
    """What a submission wants of the host's memory."""

    def reserved(self, wanted_bytes: int) -> AbstractAsyncContextManager[None]: ...


class Carrier:
    """What every submission of a worker needs on its way.

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
        memory: Memory,
        room: Room,
        attempts: int,
        grace_seconds: float,
        compare_cpu_seconds: int,
    ) -> None:
        self._client = client
        self._log = log
        self._blobs = Blobs(client)
        self._pool = pool
        self._by = by
        self._store = store
        self._memory = memory
        self._room = room
        self._attempts = attempts
        self._grace_seconds = grace_seconds
        self._compare_cpu_seconds = compare_cpu_seconds

    async def carry(self, delivery: Delivery, look: asyncio.Event) -> None:
        """Attempt after attempt until there is a terminal event; then the message is done.

        `look` is set when the log may hold a reason to stop: a cancel, or a successor of ours.

        An ack would take the message from another worker who holds it by now: so it comes only
        after a terminal event is in the log, and never from one who was taken over.
        """
        id_ = delivery.event.submission_id
        failure: str | None = None
        attempts = self._attempts
        state = await self._log.state(id_, reaching=delivery.event.sequence)
        known = begun(state)
        while True:
            decision = decide(state, delivery.event, attempts=attempts, failure=failure)
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
                    try:
                        failure = await self._run(attempt, state, decision, look)
                    except LogFull as error:
                        # Another attempt would write as much: there is room for an end alone.
                        failure, attempts = str(error), 0
                    if attempt.finished:
                        await delivery.done()
                        return
                    known = attempt.started or known
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
            if not (state.ended or state.cancel_requested) and begun(state) > known:
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
            compare_cpu_seconds=self._compare_cpu_seconds,
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
                        if over(await self._state(state.id), run.attempt, attempt.started):
                            return None
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            return _loss(task, attempt)

    async def _in_a_container(self, attempt: Attempt, id_: str, run: Run) -> None:
        missing = await self._with_memory(attempt, id_, run, run.environment)
        if missing is not None:
            _LOGGER.warning("%s: a cache miss: %s; building in the container", id_, missing)
            attempt.miss(missing)
            await self._with_memory(attempt, id_, run, None)

    async def _with_memory(
        self, attempt: Attempt, id_: str, run: Run, environment: Environment | None
    ) -> str | None:
        """The attempt, once the host has room for its container; why its environment is missing.

        Memory comes before the store's lock, as in a builder: who holds the one never waits for
        who waits for the other.
        """
        began = time.monotonic()
        at_once = cases_at_once(self._room, attempt.request)
        needs = memory_of(attempt.request, at_once, builds=environment is None)
        async with self._memory.reserved(needs), self._store.held(environment) as missing:
            if missing is not None:
                return str(missing)
            async with self._pool.take() as box:
                box.hold(needs)
                _LOGGER.info(
                    "%s: attempt %d in %s%s",
                    id_, run.attempt, box.name,
                    f", because {run.retry_because}" if run.retry_because else "",
                )  # fmt: skip
                await attempt.begin(box)
                if run.attempt > 1:
                    await tell_predecessor(self._client, id_)
                verdict = await attempt.perform(box)
        _LOGGER.info("%s: finished %s after %.3f s", id_, verdict, time.monotonic() - began)
        return None

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


def _loss(task: asyncio.Task[None], attempt: Attempt) -> str | None:
    """What became of an attempt: None when it ended, or when the log goes on without it.

    An error before `started` cost no attempt and is raised; after it, it is the reason of the next.
    LogFull is raised at any time.
    """
    error = task.exception()
    if error is None or isinstance(error, Conflict):
        return None
    if attempt.started is None or isinstance(error, LogFull) or not isinstance(error, Exception):
        raise error
    if isinstance(error, AttemptFailed | StreamsError):
        _LOGGER.error("%s: attempt lost: %s", attempt.id, error)
    else:
        _LOGGER.error("%s: attempt lost", attempt.id, exc_info=error)
    return str(error) if isinstance(error, AttemptFailed) else repr(error)
