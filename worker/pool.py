"""Warm containers: a few are always started and ready, each takes exactly one submission.

A container's start costs 0.15 s and as much CPU; here it is paid before the submission comes.
Each container lives in a task of its own, from its creation to its removal, so that whoever used
it does not wait for either.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

_LOGGER: Final = logging.getLogger(__name__)
#: At most: a try costs little, and an engine that is back should not be waited for.
_BACKOFF_SECONDS: Final = (0.2, 5.0)
_SLOW_SECONDS: Final = 1.0


class Mortal(Protocol):
    """What the pool knows of a container: its name, and that it can die."""

    name: str
    dead: asyncio.Event


Box = TypeVar("Box", bound=Mortal)


@dataclass(eq=False, slots=True)
class _Place(Generic[Box]):
    box: Box
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Pool(Generic[Box]):
    """Keeps up to `size` containers idle; at most `starts` are being started at once.

    A start costs as much CPU as many a submission. So a container that was taken is replaced when
    it is let go, as long as half of the pool is idle; below that, at once.

    `make` gives one container as a context manager; any Exception from it counts as a failure,
    and after one the pool waits before it tries again, longer each time.
    """

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[Box]],
        *,
        size: int,
        starts: int,
        backoff_seconds: tuple[float, float] = _BACKOFF_SECONDS,
    ) -> None:
        self._make = make
        self._size = size
        self._gate = asyncio.Semaphore(starts)
        self._idle: deque[_Place[Box]] = deque()
        self._takers: deque[asyncio.Future[_Place[Box]]] = deque()
        self._some_idle = asyncio.Event()
        self._starting = 0
        self._taken = 0
        self._keepers: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._first_backoff, self._longest_backoff = backoff_seconds
        self._backoff = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove every container, also those that are in use."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    @property
    def idle(self) -> int:
        """How many containers are ready now."""
        return len(self._idle)

    async def available(self) -> None:
        """Wait until a container is ready: who has none should not ask for work."""
        while not self._idle:
            self._some_idle.clear()
            await self._some_idle.wait()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Box]:
        """A container for one submission; at the end of the block it is removed, not given back."""
        self._taken += 1
        try:
            place = await self._next()
            try:
                yield place.box
            finally:
                place.released.set()
        finally:
            self._taken -= 1
            self._fill()

    async def _next(self) -> _Place[Box]:
        if self._idle and not self._takers:
            place = self._idle.popleft()
            self._fill()
            return place
        loop = asyncio.get_running_loop()
        began = loop.time()
        taker: asyncio.Future[_Place[Box]] = loop.create_future()
        self._takers.append(taker)
        self._fill()
        try:
            place = await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():
                self._offer(taker.result())
            elif taker in self._takers:
                self._takers.remove(taker)
            raise
        if (waited := loop.time() - began) > _SLOW_SECONDS:
            _LOGGER.warning("pool: empty: a submission waited %.1f s for a container", waited)
        return place

    def _offer(self, place: _Place[Box]) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(place)
                self._fill()
                return
        self._idle.append(place)
        self._some_idle.set()

    def _fill(self) -> None:
        """Start what is missing, unless the last start failed a moment ago."""
        if self._closed or self._retry is not None:
            return
        reserve = (self._size + 1) // 2
        wanted = max(self._size - self._taken, reserve, len(self._takers))
        while len(self._idle) + self._starting < wanted:
            self._starting += 1
            keeper = asyncio.create_task(self._keep(), name="keep a container")
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)

    async def _keep(self) -> None:
        """One container's life."""
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with self._gate:
                        box = await stack.enter_async_context(self._make())
                except Exception as error:  # noqa: BLE001 - whatever it is, others may work
                    self._failed(error)
                    return
                finally:
                    self._starting -= 1
                self._works()
                place = _Place(box)
                self._offer(place)
                await self._until_over(place)
        except Exception:
            _LOGGER.exception("pool: a container was not removed cleanly")

    async def _until_over(self, place: _Place[Box]) -> None:
        """Until its taker has let it go, or it died before there was one."""
        released = asyncio.create_task(place.released.wait())
        died = asyncio.create_task(place.box.dead.wait())
        try:
            await asyncio.wait((released, died), return_when=asyncio.FIRST_COMPLETED)
            if place in self._idle:
                self._idle.remove(place)
                _LOGGER.warning("pool: %s died idle; starting another", place.box.name)
                self._fill()
            else:
                await released
        finally:
            released.cancel()
            died.cancel()

    def _works(self) -> None:
        if self._failures:
            _LOGGER.warning("pool: containers start again after %d failures", self._failures)
            self._failures = 0
            self._backoff = 0.0
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._fill()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._retry is None and not self._closed:
            # Those that fail together are one trouble: it doubles the wait once.
            longer = max(2 * self._backoff, self._first_backoff)
            self._backoff = min(longer, self._longest_backoff)
            self._retry = asyncio.get_running_loop().call_later(self._backoff, self._again)
        _LOGGER.error(
            "pool: no container, failure %d in a row, %d idle, next try in %.1f s: %s",
            self._failures, self.idle, self._backoff, error,
        )  # fmt: skip

    def _again(self) -> None:
        self._retry = None
        self._fill()
