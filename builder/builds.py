"""Many submissions, one build: who asks for what is being built already joins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from builder import decide
from builder.catalogue import Record
from builder.shared import Holder
from init.frames import JobFile, Report
from init.limits import StageLimits

#: A stopped build ends within this; its report holds what it had said so far.
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Order:
    """An environment to build: the files that the shell may read, and the limits.

    `alone`: under these limits the result serves this submission and no other, so nobody joins.
    """

    environment_id: str
    files: tuple[JobFile, ...]
    limits: StageLimits
    submission_id: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """How a build ended; `record` is there when it ended well."""

    report: Report
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one submission gets. `queued_seconds`: until its build began, or all, if it joined."""

    how: decide.How
    built: Built
    queued_seconds: float


#: Alone with an environment among all who build for this store. While another is, the function is
#: told what that one does.
Lease = Callable[[str, Callable[[Holder], None]], AbstractAsyncContextManager[None]]
#: Memory of the host for one build, which waits until there is so much.
Memory = Callable[[int], AbstractAsyncContextManager[None]]
#: Tells those who wait for the lease that its holder builds now.
Building = Callable[[str], AbstractAsyncContextManager[None]]
#: What there is of an environment already.
Find = Callable[[str], Record | None]
#: Builds an order until `stop` is set; raises BuilderError when it is our fault.
Build = Callable[[Order, asyncio.Event], Awaitable[Built]]


#: What makes two orders the same build: environment, limits, and who is to be alone with it.
_Key = tuple[str, StageLimits, str]


@dataclass(slots=True)
class _Running:
    """One build and those who wait for it.

    While somebody builds it, here or beside us, it is `built`, and the waiters' clocks run; else it
    is `held` up. `building`: when we began, by the loop's clock.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    built: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: int = 0
    building: float | None = None
    found: decide.How | None = None
    task: asyncio.Task[Built] | None = None

    def goes_on(self) -> None:
        """Somebody builds it from now on."""
        self.built.set()
        self.held.clear()

    def is_held_up(self) -> None:
        """Nobody does."""
        self.held.set()
        self.built.clear()


class Builds:
    """At most `jobs` builds at once, and never two of the same order."""

    def __init__(
        self,
        build: Build,
        *,
        jobs: int,
        wall_seconds: float,
        memory: Memory = lambda _bytes: nullcontext(),
        lease: Lease = lambda _id, _built: nullcontext(),
        building: Building = lambda _id: nullcontext(),
        find: Find = lambda _id: None,
    ) -> None:
        self._build = build
        self._memory = memory
        self._lease = lease
        self._building = building
        self._find = find
        self._slots = asyncio.Semaphore(jobs)
        self._wall_seconds = wall_seconds
        self._running: dict[_Key, _Running] = {}
        self._tasks: set[asyncio.Task[Built]] = set()

    async def get(self, order: Order) -> Answer:
        """The environment, built or joined. Raises BuilderError.

        The waiter's clock runs while somebody builds, not while that waits for a slot. When the
        last waiter is gone (cancelled or out of time), the build is stopped.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        limits = decide.joinable(order.limits, self._wall_seconds)
        key = (order.environment_id, limits, order.submission_id if order.alone else "")
        running = self._running.get(key)
        how: decide.How = "built" if running is None else "joined"
        if running is None:
            running = self._start(key, replace(order, limits=limits))
        running.waiters += 1
        try:
            built = await self._wait(running, key, order.limits)
        finally:
            running.waiters -= 1
            if running.waiters == 0:
                self._stop(key, running)
        if how == "joined" and built.record is not None and built.record.private_to is not None:
            return await self.get(order)  # it was to be shared, and came out as another's alone
        how = running.found or how
        began = running.building if how == "built" else None
        return Answer(how, built, (loop.time() if began is None else began) - asked)

    async def close(self) -> None:
        """Stop everything at once: the submissions' leases run out and others take over."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: _Key, order: Order) -> _Running:
        running = _Running()
        running.task = asyncio.create_task(self._run(key, running, order))
        self._tasks.add(running.task)
        running.task.add_done_callback(self._forget)
        self._running[key] = running
        return running

    async def _run(self, key: _Key, running: _Running, order: Order) -> Built:
        def waiting(another: Holder) -> None:
            if another == "builds":
                running.found = "joined"
                running.goes_on()
            else:
                running.is_held_up()

        id_ = order.environment_id
        try:
            async with self._lease(id_, waiting):
                if (record := self._find(id_)) is not None:
                    running.found = running.found or "hit"
                    return Built(decide.there(), record)
                running.found = None
                running.is_held_up()
                memory = self._memory(order.limits.memory_bytes)
                async with self._slots, memory, self._building(id_):
                    running.building = asyncio.get_running_loop().time()
                    running.goes_on()
                    return await self._build(order, running.stop)
        finally:
            self._remove(key, running)

    async def _wait(self, running: _Running, key: _Key, limits: StageLimits) -> Built:
        assert running.task is not None  # noqa: S101 - set where it is made
        waited = await _clocked(running, running.task, limits.wall_seconds)
        if running.task.done():
            return running.task.result()
        report = decide.nothing_yet()
        if running.waiters == 1:
            self._stop(key, running)
            done, _ = await asyncio.wait({running.task}, timeout=_STOP_SECONDS)
            if done and not running.task.cancelled() and running.task.exception() is None:
                built = running.task.result()
                if built.record is not None:
                    return built
                report = built.report
        return Built(decide.late(report, limits, waited))

    def _stop(self, key: _Key, running: _Running) -> None:
        self._remove(key, running)
        running.stop.set()
        if running.task is not None and running.building is None:
            running.task.cancel()

    def _remove(self, key: _Key, running: _Running) -> None:
        if self._running.get(key) is running:
            del self._running[key]

    def _forget(self, task: asyncio.Task[Built]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # each waiter has seen it; without one, asyncio would complain


async def _clocked(running: _Running, task: asyncio.Task[Built], seconds: float) -> float:
    """Wait for its end, but no longer than for so many seconds in which it is built; how long."""
    loop = asyncio.get_running_loop()
    waited = 0.0
    while not task.done() and waited < seconds:
        built = running.built.is_set()
        change = asyncio.create_task((running.held if built else running.built).wait())
        since = loop.time()
        try:
            await asyncio.wait(
                {task, change},
                timeout=seconds - waited if built else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            change.cancel()
        if built:
            waited += loop.time() - since
    return waited
