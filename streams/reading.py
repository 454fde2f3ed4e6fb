"""Messages of a stream as they are stored, by batched direct gets, which leave no consumer behind.

Whoever wants events reads them through `log.py`; this is for who keeps or copies the log itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from streams import events
from streams.errors import LogUnavailable

#: nats-py lets a connection that breaks in the middle of a call through as it is.
BROKEN: Final = (NatsError, OSError)
#: The most messages of one answer to a direct get.
_BATCH: Final = 1000
#: An answer ends with the message that reaches this, and whoever reads slowly holds an answer.
_BATCH_BYTES: Final = 1024 * 1024
#: Answers at once on one connection. Each may be a message (8 MiB, 11 as base64) longer than it was
#: asked to be, and a server closes a connection for which 64 MiB wait to be sent, its default.
_ANSWERS: Final = 4
_slots: Final[WeakKeyDictionary[Client, asyncio.Semaphore]] = WeakKeyDictionary()
#: What the server says about a message beside the headers that it was published with.
_SAID: Final = frozenset(
    {
        "Nats-Stream",
        "Nats-Subject",
        "Nats-Sequence",
        "Nats-Time-Stamp",
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
        "Nats-UpTo-Sequence",
    }
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One message: `headers` are the server's words about it and its publisher's together."""

    sequence: int
    data: bytes
    headers: Mapping[str, str]

    @property
    def subject(self) -> str:
        return self.headers["Nats-Subject"]

    @property
    def own_headers(self) -> dict[str, str]:
        """Those that it was published with."""
        return {name: value for name, value in self.headers.items() if name not in _SAID}


@dataclass(frozen=True, slots=True)
class Extent:
    """From where to where a stream reaches. One that is empty ends before it begins."""

    first: int
    last: int


async def extent(client: Client, stream: str = events.STREAM, *, seconds: float = 5.0) -> Extent:
    """Raises LogUnavailable."""
    what = f"read the state of {stream}"
    try:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=seconds)
    except BROKEN as error:
        raise LogUnavailable(what, repr(error)) from error
    info = orjson.loads(answer.data)
    if "error" in info:
        raise LogUnavailable(what, str(info["error"]))
    first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
    # The server calls the first of a stream that never held anything 0.
    return Extent(first or last + 1, last)


async def subjects_of(client: Client, stream: str, filter_: str) -> AsyncIterator[str]:
    """Subjects of a stream: the server answers with at most 100,000 at once."""
    offset = 0
    while True:
        query = orjson.dumps({"subjects_filter": filter_, "offset": offset})
        try:
            answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", query, timeout=10)
        except NatsError as error:
            raise LogUnavailable(f"list {filter_}", repr(error)) from error
        info = orjson.loads(answer.data)
        if "error" in info:
            raise LogUnavailable(f"list {filter_}", str(info["error"]))
        subjects = info["state"].get("subjects") or {}
        for subject in subjects:
            yield subject
        offset += len(subjects)
        if not subjects or offset >= int(info.get("total", 0)):
            return


async def stored(
    client: Client,
    *,
    subject: str = ">",
    after: int,
    upto: int,
    stream: str = events.STREAM,
    seconds: float = 5.0,
) -> AsyncIterator[list[Stored]]:
    """In batches, the messages above `after` up to `upto`; ends early at the stream's end."""
    start = after + 1
    while start <= upto:
        batch, pending = await direct_get(client, stream, subject, start, seconds)
        batch = [message for message in batch if message.sequence <= upto]
        if not batch:
            return
        yield batch
        if pending == 0:
            return
        start = batch[-1].sequence + 1


def answers(client: Client) -> asyncio.Semaphore:
    """What anybody holds while messages of any size are on their way to this connection."""
    return _slots.setdefault(client, asyncio.Semaphore(_ANSWERS))


async def direct_get(
    client: Client,
    stream: str,
    subject: str,
    start: int,
    seconds: float,
    *,
    batch: int = _BATCH,
    max_bytes: int = _BATCH_BYTES,
) -> tuple[list[Stored], int]:
    """One answer: messages from `start` on, and how many more there are. Raises LogUnavailable."""
    query = orjson.dumps(
        {"batch": batch, "max_bytes": max_bytes, "seq": start, "next_by_subj": subject}
    )
    async with answers(client):
        return await _answer(client, stream, query, seconds, f"read {subject} from {start}")


async def _answer(
    client: Client, stream: str, query: bytes, seconds: float, what: str
) -> tuple[list[Stored], int]:
    inbox = client.new_inbox()
    try:
        subscription = await client.subscribe(inbox)
    except BROKEN as error:
        raise LogUnavailable(what, repr(error)) from error
    messages: list[Stored] = []
    pending = 0
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", query, reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=seconds)
            status = _status(message)
            if status in {"204", "404"}:
                return messages, pending
            if status is not None:
                raise LogUnavailable(what, f"{message.headers}")
            headers = message.headers or {}
            messages.append(Stored(int(headers["Nats-Sequence"]), message.data, headers))
            pending = int(headers.get("Nats-Num-Pending", "0"))
    except BROKEN as error:
        raise LogUnavailable(what, repr(error)) from error
    finally:
        with suppress(*BROKEN):  # a connection that is gone has forgotten it by itself
            await subscription.unsubscribe()


def _status(message: Msg) -> str | None:
    return (message.headers or {}).get("Status")
