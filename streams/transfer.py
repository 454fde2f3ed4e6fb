"""Messages published again, each under the sequence that it has: in order, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import orjson
from nats.aio.client import Client

from streams.errors import CopyRefused, LogUnavailable
from streams.reading import BROKEN, Stored, extent, stored
from streams.setup import answering

_EXPECTED: Final = "Nats-Expected-Last-Sequence"
#: What is sent before its answers are awaited: below what a connection holds back.
_WINDOW: Final = 200
_WINDOW_BYTES: Final = 4 * 1024 * 1024
_ACK_SECONDS: Final = 10.0
#: A cluster that chooses a new leader meanwhile answers late, or not at all.
_TRIES: Final = 5


async def every(client: Client, after: int, upto: int) -> AsyncIterator[list[Stored]]:
    """As `stored`, and no less: a replica that answers may be a moment behind."""
    done, tries = after, 0
    while done < upto:
        try:
            async for batch in stored(client, after=done, upto=upto):
                yield batch
                done, tries = batch[-1].sequence, 0
        except LogUnavailable:
            if tries == _TRIES:
                raise
        if done < upto:
            tries += 1
            if tries > _TRIES:
                raise LogUnavailable(f"read sequence {done + 1}", "there are no more messages")
            await answering(client)
            await asyncio.sleep(0.1 * 2**tries)


async def surely(target: Client, done: int, window: list[Stored]) -> None:
    """Whatever of it has arrived, the rest goes on from there. Raises as `_publish`."""
    for tries in range(_TRIES, -1, -1):
        try:
            await _publish(target, done, window)
        except LogUnavailable:
            if not tries:
                raise
            await answering(target)
            done = max(done, (await extent(target)).last)
            window = [message for message in window if message.sequence > done]
        else:
            return


def windows(batch: list[Stored]) -> list[list[Stored]]:
    """Cut so that none has more messages or bytes than are sent at once. Pure."""
    found: list[list[Stored]] = []
    size = 0
    for message in batch:
        size += len(message.data)
        if not found or len(found[-1]) == _WINDOW or size > _WINDOW_BYTES:
            found.append([])
            size = len(message.data)
        found[-1].append(message)
    return found


async def _publish(target: Client, done: int, window: list[Stored]) -> None:
    """Send all, then await the answer of each. Raises LogUnavailable, CopyRefused."""
    inbox = target.new_inbox()
    subscription = await target.subscribe(inbox)
    before = done
    try:
        for message in window:
            if message.sequence != before + 1:
                raise CopyRefused(f"the source lacks sequence {before + 1}: its log is damaged")
            headers = kept(message.own_headers) | {_EXPECTED: str(before)}
            await target.publish(message.subject, message.data, reply=inbox, headers=headers)
            before = message.sequence
        for message in window:
            answer = orjson.loads((await subscription.next_msg(timeout=_ACK_SECONDS)).data)
            if "error" in answer:
                raise LogUnavailable(f"copy sequence {message.sequence}", str(answer["error"]))
            if answer["seq"] != message.sequence:
                raise CopyRefused(f"sequence {message.sequence} became {answer['seq']}")
    except BROKEN as error:
        raise LogUnavailable(f"copy sequences after {done}", repr(error)) from error
    finally:
        await subscription.unsubscribe()


def kept(headers: dict[str, str]) -> dict[str, str]:
    """A message's headers without those that tell the server what to do with it. Pure.

    The id stays: a writer that never heard its answer and repeats itself is known again.
    """
    return {
        name: value
        for name, value in headers.items()
        if name == "Nats-Msg-Id" or not name.startswith("Nats-")
    }
