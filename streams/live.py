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
from typing import Final

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

Listener = asyncio.Queue[AnyEvent | None]


class Live:
    """Hands each live event to those who listen for its submission.

    A hint, never the truth: after a gap (`None`) and now and then, a listener reads the log.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        #: How many listen now.
        self.listening = 0

    def pause_seconds(self, at_least: float) -> float:
        """How long a listener hears nothing before it reads the log: the more, the longer."""
        return max(at_least, self.listening / _READS_A_SECOND)

    @contextmanager
    def listen(self, submission_id: str, root: str = events.ROOT) -> Iterator[Listener]:
        """A queue of the submission's events from now on; None means: something was missed."""
        queue: Listener = asyncio.Queue(_BEHIND)
        whose = events.guard(submission_id, root)
        self._listeners[whose].add(queue)
        self.listening += 1
        try:
            yield queue
        finally:
            self.listening -= 1
            self._listeners[whose].discard(queue)
            if not self._listeners[whose]:
                del self._listeners[whose]

    def missed(self) -> None:
        """Tell everyone to read the log: the connection was gone for a while."""
        for queues in self._listeners.values():
            for queue in queues:
                _put(queue, None)

    async def hand_out(self, message: Msg) -> None:
        """Called for each live message."""
        _, root, submission_id, *_ = message.subject.split(".")
        queues = self._listeners.get(events.guard(submission_id, root))
        if not queues:
            return
        try:
            event = events.decode(message.data, int((message.headers or {})["Nats-Sequence"]))
        except (Undecodable, KeyError, ValueError) as error:
            _LOGGER.error("live %s: %s", message.subject, error)  # noqa: TRY400 - the cause says all
            return
        for queue in queues:
            _put(queue, event)


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
