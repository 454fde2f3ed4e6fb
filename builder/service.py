"""Queued environments in, built ones out: the thin part around `decide.py`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from builder import decide
from builder.builds import Answer, Builds, Built, Order
from builder.catalogue import Catalogue, Record
from builder.errors import BuilderError, WrongChannel
from builder.settings import BuilderSettings
from init.frames import JobFile
from streams.blobs import Blobs
from streams.content import Packer
from streams.environments import Environment, environment_id
from streams.errors import Conflict, StreamsError
from streams.events import DepsBuilt, DepsQueued, now
from streams.fold import NOTHING, Submission, fold
from streams.log import EventLog
from streams.queues import Delivery
from streams.results import stage_result
from streams.scribe import Scribe

_LOGGER: Final = logging.getLogger(__name__)
#: Another writer came first: read again, decide again. More often than this is no race.
_RACES: Final = 5
#: Each takes milliseconds; more of them would only wait for the log.
_HITS_AT_ONCE: Final = 256
#: A submission that found every place for builds taken comes again after this.
_NO_ROOM_SECONDS: Final = 1.0
#: How long a blob that was there is believed to be there.
_BELIEVE_SECONDS: Final = 600.0


class Service:
    """Takes deliveries as they come; each is a task, and only builds wait for a slot."""

    def __init__(
        self,
        settings: BuilderSettings,
        log: EventLog,
        blobs: Blobs,
        catalogue: Catalogue,
        builds: Builds,
    ) -> None:
        self._settings = settings
        self._log = log
        self._blobs = blobs
        self._catalogue = catalogue
        self._builds = builds
        self._stored: dict[str, float] = {}

    async def serve(self, deliveries: AsyncIterator[Delivery]) -> None:
        """For ever. When cancelled, what is in hand goes to another after its lease.

        Builds in hand are bounded. A hit never waits for one: it is answered outside of that bound,
        and a submission that finds it reached is put back for a moment, for us or another builder.
        """
        builds = asyncio.Semaphore(self._settings.builder_held)
        hits = asyncio.Semaphore(_HITS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            async for delivery in deliveries:
                room = hits if self._is_hit(delivery) else builds
                # few ask for a warming, and its deliveries are counted: it waits here
                if room is builds and builds.locked() and not _is_warming(delivery):
                    tasks.create_task(self._no_room(delivery))
                    continue
                await room.acquire()
                task = tasks.create_task(self.handle(delivery))
                task.add_done_callback(partial(_release, room))

    def _is_hit(self, delivery: Delivery) -> bool:
        event = delivery.event
        return isinstance(event, DepsQueued) and (
            self._catalogue.find(event.environment_id) is not None
        )

    async def _no_room(self, delivery: Delivery) -> None:
        try:
            await delivery.later(_NO_ROOM_SECONDS)
        except Exception as refused:  # noqa: BLE001 - then it comes again after its lease
            _LOGGER.warning("%s: not put back: %r", delivery.event.submission_id, refused)

    async def handle(self, delivery: Delivery) -> None:
        """One queued environment, to its event, or back into the queue when we are at fault."""
        event = delivery.event
        if not isinstance(event, DepsQueued):
            _LOGGER.error("%s: not an event for a builder: %s", event.submission_id, event.event)
            await delivery.done()
            return
        try:
            async with delivery.kept_alive():
                await self._answer(event)
                await delivery.done()
        except Exception as error:  # noqa: BLE001 - what one submission meets stops no other
            if not await self._gave_up(delivery, event, error):
                await self._put_back(delivery, event, error)

    async def _gave_up(self, delivery: Delivery, event: DepsQueued, error: Exception) -> bool:
        """Whether the fault was told, as the answer to a warming that met it at each try."""
        if not decide.gives_up(delivery.delivered, warm=event.warm):
            return False
        why = f"{type(error).__name__}: {error}"
        _LOGGER.error("environment %s: given up: %s", event.environment_id, why)
        answer = Answer("built", Built(decide.given_up(delivery.delivered, why)), 0.0)
        try:
            state = await self._log.state(event.submission_id, event.root, reaching=event.sequence)
            await self._publish(event, answer, state)
            await delivery.done()
        except Exception as refused:  # noqa: BLE001 - the next delivery is another chance
            _LOGGER.warning("environment %s: not told: %r", event.environment_id, refused)
            return False
        return True

    async def _put_back(self, delivery: Delivery, event: DepsQueued, error: Exception) -> None:
        """Our fault: another builder, or we a little later; past the deadline a worker builds."""
        seconds = decide.retry_seconds(delivery.delivered)
        expected = isinstance(error, (BuilderError, StreamsError, OSError))
        _LOGGER.error(
            "%s: environment %s: %s: %s (delivery %d); again in %g s",
            event.submission_id,
            event.environment_id,
            type(error).__name__,
            error,
            delivery.delivered,
            seconds,
            exc_info=None if expected else error,
        )
        try:
            await delivery.later(seconds)
        except Exception as refused:  # noqa: BLE001 - then it comes again after its lease
            _LOGGER.warning("%s: not put back: %r", event.submission_id, refused)

    async def _answer(self, event: DepsQueued) -> None:
        began = time.monotonic()
        record = self._catalogue.find(event.environment_id)
        if record is not None:
            # A hit reads nothing: its order is the last event, or the guard refuses and we look.
            answer, state = _hit(record, began), fold(NOTHING, event)
        else:
            state = await self._log.state(event.submission_id, event.root, reaching=event.sequence)
            if not decide.wanted(state):
                return
            found = await self._get(event)
            if found is None:
                _LOGGER.info("%s: nobody waits for its environment any more", event.submission_id)
                return
            answer = found
        built = await self._publish(event, answer, state)
        _LOGGER.info(
            "%s: environment %s: %s, %s, %.2f s%s",
            event.submission_id,
            event.environment_id,
            answer.how,
            answer.built.report.outcome,
            time.monotonic() - began,
            "" if built else "; the submission has moved on, nothing is said",
        )

    async def _get(self, event: DepsQueued) -> Answer | None:
        """The environment, built or joined, or None when it is no longer wanted."""
        order = await self._order(event)
        getting = asyncio.create_task(self._builds.get(order))
        watching = asyncio.create_task(self._unwanted(event))
        try:
            await asyncio.wait({getting, watching}, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            for task in (getting, watching):
                task.cancel()
            await asyncio.gather(getting, watching, return_exceptions=True)

    async def _order(self, event: DepsQueued) -> Order:
        """The files' bytes, checked against the id under which others will be given the result."""
        if event.channel != self._settings.channel_revision:
            raise WrongChannel(event.channel, self._settings.channel_revision)
        files = [(file.name, await self._blobs.bytes_of(file.content)) for file in event.files]
        if environment_id(files, event.channel) != event.environment_id:
            raise BuilderError(f"the files are not those of environment {event.environment_id}")
        limits = event.limits.dependencies
        return Order(
            event.environment_id,
            tuple(JobFile(name, content) for name, content in files),
            limits,
            event.submission_id,
            alone=bool(decide.lowered(limits, self._settings.host_defaults)),
        )

    async def _unwanted(self, event: DepsQueued) -> None:
        """Returns when nobody waits any more: cancelled, or begun without us."""
        while True:
            await asyncio.sleep(self._settings.builder_watch_seconds)
            try:
                if not decide.wanted(await self._log.state(event.submission_id, event.root)):
                    return
            except StreamsError as error:
                _LOGGER.warning("%s: %s", event.submission_id, error)

    async def _publish(self, event: DepsQueued, answer: Answer, state: Submission) -> bool:
        """Say it, if it is still to be said. Blobs first, so that the event never lies.

        `state` may be old: then the guard refuses, and we look again.
        """
        packer = Packer()
        result = stage_result(answer.built.report, packer)
        record = answer.built.record
        said = DepsBuilt(
            submission_id=event.submission_id,
            by=self._settings.by,
            how=answer.how,
            result=result,
            environment=None if record is None else _environment(record, packer),
            waited_seconds=round(answer.queued_seconds, 6),
            warm=event.warm,
        )
        await self._store(packer.blobs)
        for _ in range(_RACES):
            if not decide.wanted(state):
                return False
            try:
                await Scribe(self._log, state).record(said.model_copy(update={"at": now()}))
            except Conflict:
                state = await self._log.state(event.submission_id, event.root)
                continue
            return True
        raise BuilderError(f"{_RACES} other events came first")

    async def _store(self, blobs: dict[str, bytes]) -> None:
        """Asked now and then: a hit mostly costs no look into the object store.

        What no event names is removed from it, an hour after it was found unused.
        """
        now = time.monotonic()
        while self._stored and now - next(iter(self._stored.values())) > _BELIEVE_SECONDS:
            del self._stored[next(iter(self._stored))]  # the oldest comes first
        new = {sha256: data for sha256, data in blobs.items() if sha256 not in self._stored}
        await self._blobs.put_all(new)
        for sha256 in new:
            self._stored.pop(sha256, None)
            self._stored[sha256] = now


def _hit(record: Record, began: float) -> Answer:
    return Answer("hit", Built(decide.there(), record), time.monotonic() - began)


def _environment(record: Record, packer: Packer) -> Environment:
    return Environment(
        id=record.id,
        path=record.path,
        closure=record.closure,
        profile=packer.pack(record.profile.encode()),
        size_bytes=record.size_bytes,
        paths=packer.aside(record.paths.encode()) if record.paths else None,
    )


def _release(room: asyncio.Semaphore, _: asyncio.Task[None]) -> None:
    room.release()


def _is_warming(delivery: Delivery) -> bool:
    return isinstance(delivery.event, DepsQueued) and delivery.event.warm
