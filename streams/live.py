"""Live events: what the log has accepted, republished by the server below `live.`.

Fan-out is in memory, for all of a process. A plain subscription to `submissions.>` would
also see what the guard rejected.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg

from streams import events
from streams.errors import Undecodable
from streams.events import AnyEvent

_LOGGER: Final = logging.getLogger(__name__)
#: A reader who falls this far behind is told so (None) and reads the log again.
_BEHIND: Final = 10_000
#: Those who hear nothing read the log now and then, and all together no more often than this.
_READS_A_SECOND: Final = 50

#: What a guarded append says of its story: the sequence before it, which the server has checked.
#: (The server's own `Nats-Last-Sequence` is of the literal subject, and 0 in most stories.)
_BEFORE: Final = "Nats-Expected-Last-Subject-Sequence"
_OF: Final = "Nats-Expected-Last-Subject-Sequence-Subject"

Listener = asyncio.Queue[AnyEvent | None]
_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Heard:
    """A live event. `before`: the sequence before it in its story, where it says so."""

    event: AnyEvent
    before: int | None

    def follows(self, sequence: int) -> bool:
        """Whether nothing of its story lies between. Of a batch's events none says what does."""
        return self.before == sequence > 0


class Follower:
    """One story, heard by who sends it on: one event is held at most, however slow that is.

    The next before that is taken, and every gap, only say that the log has more.
    """

    def __init__(self) -> None:
        self._held: Heard | None = None
        self._more = False
        self._wake = asyncio.Event()

    def put(self, heard: Heard | None) -> None:
        """None: something was missed."""
        self._more = self._more or heard is None or self._held is not None
        self._held = None if self._more else heard
        self._wake.set()

    async def next(self) -> Heard | None:
        """Waits. The one event since the last call; None for more, or for a gap: read the log."""
        await self._wake.wait()
        held, self._held, self._more = self._held, None, False
        self._wake.clear()
        return held


#: `environments.ATTACK` as it stands in the event's bytes. What a build printed is escaped there.
_ATTACK: Final = b'"message":"ATTACK: '


class Live:
    """Hands each live event to those who listen for its submission.

    A hint, never the truth: after a gap (`None`) and now and then, a listener reads the log.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        #: How many listen now.
        self.listening = 0
        #: Builds that were refused as attacks since this process connected.
        self.attacks = 0

    def pause_seconds(self, at_least: float) -> float:
        """How long a listener hears nothing before it reads the log: the more, the longer."""
        return max(at_least, self.listening / _READS_A_SECOND)

    @contextmanager
    def listen(self, submission_id: str, root: str = events.ROOT) -> Iterator[Listener]:
        """A queue of the submission's events from now on; None means: something was missed."""
        queue: Listener = asyncio.Queue(_BEHIND)
        with self._among(self._listeners, events.guard(submission_id, root), queue):
            yield queue

    @contextmanager
    def follow(self, submission_id: str, root: str = events.ROOT) -> Iterator[Follower]:
        """The submission's events from now on, for one that needs each of them."""
        follower = Follower()
        with self._among(self._followers, events.guard(submission_id, root), follower):
            yield follower

    @contextmanager
    def _among(self, all_: defaultdict[str, set[_One]], whose: str, one: _One) -> Iterator[None]:
        all_[whose].add(one)
        self.listening += 1
        try:
            yield
        finally:
            self.listening -= 1
            all_[whose].discard(one)
            if not all_[whose]:
                del all_[whose]

    def missed(self) -> None:
        """Tell everyone to read the log: the connection was gone for a while."""
        for queues in self._listeners.values():
            for queue in queues:
                _put(queue, None)
        for followers in self._followers.values():
            for follower in followers:
                follower.put(None)

    async def hand_out(self, message: Msg) -> None:
        """Called for each live message."""
        _, root, submission_id, name, *_ = message.subject.split(".")
        if name == "deps-built" and _ATTACK in message.data:
            self.attacks += 1
        whose = events.guard(submission_id, root)
        queues, followers = self._listeners.get(whose, ()), self._followers.get(whose, ())
        if not queues and not followers:
            return
        headers = message.headers or {}
        try:
            said_at = message.subject.removeprefix(f"{events.LIVE}.")
            event = events.decode(message.data, int(headers["Nats-Sequence"]), said_at, headers)
            before = int(headers[_BEFORE]) if headers.get(_OF) == whose else None
        except (Undecodable, KeyError, ValueError) as error:
            _LOGGER.error("live %s: %s", message.subject, error)  # noqa: TRY400 - the cause says all
            for follower in followers:
                follower.put(None)
            return
        for queue in queues:
            _put(queue, event)
        for follower in followers:
            follower.put(Heard(event, before))


def _put(queue: Listener, item: AnyEvent | None) -> None:
    if not queue.full():
        queue.put_nowait(item)
    elif item is not None:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


@asynccontextmanager
async def live(client: Client) -> AsyncIterator[Live]:
    """The process's one place of listening, handing out until the block ends."""
    hub = Live()
    async with subscribed(client, hub.hand_out):
        yield hub


@asynccontextmanager
async def subscribed(
    client: Client, callback: Callable[[Msg], Awaitable[None]]
) -> AsyncIterator[None]:
    """Every live event calls back while the block runs."""
    subscriptions = [
        await client.subscribe(f"{events.LIVE}.{root}.>", cb=callback) for root in events.ROOTS
    ]
    await client.flush()
    try:
        yield
    finally:
        if client.is_connected:
            for subscription in subscriptions:
                await subscription.unsubscribe()
