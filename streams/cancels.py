"""Telling the worker that runs a submission to look at its log: a core request, answered at once.

Only a shortcut: the durable `cancel-requested` comes first, and its queue is the net below.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

_ROOT: Final = "cancel"
_TIMEOUT_SECONDS: Final = 2.0


async def tell_runner(client: Client, submission_id: str) -> bool:
    """Whether a worker that runs it has heard. False at once when nobody does."""
    try:
        await client.request(f"{_ROOT}.{submission_id}", b"", timeout=_TIMEOUT_SECONDS)
    except (NoRespondersError, NatsTimeoutError):
        return False
    return True


async def tell_predecessor(client: Client, submission_id: str) -> None:
    """A later attempt has said `started`: who still runs an earlier one, without a lease, stops.

    It may have looked a moment before, when it was asked whether it lives and did not answer.
    """
    await client.publish(f"{_ROOT}.{submission_id}", b"")


@asynccontextmanager
async def heard(
    client: Client, submission_id: str, look: Callable[[], None]
) -> AsyncIterator[None]:
    """While the block runs, a word about this submission calls `look`.

    Enter before publishing `started`: the guard then puts the cancel and the start in order.
    """

    async def on_message(message: Msg) -> None:
        if message.reply:
            await message.respond(b"")
        look()

    subscription = await client.subscribe(f"{_ROOT}.{submission_id}", cb=on_message)
    await client.flush()
    try:
        yield
    finally:
        if client.is_connected:
            await subscription.unsubscribe()
