"""The bytes of a blob in the object store: chunks on one subject, as every client of NATS has them.

Not by nats-py: its `put` purges what another has just written and what it can't finish, which no
service may, and its `get` leaves a subscription and a consumer behind when it is cancelled.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.errors import NotFoundError
from nats.nuid import NUID

from streams.errors import LogFull, LogUnavailable
from streams.reading import BROKEN, direct_get, subjects_of
from streams.refusals import FULL

BUCKET: Final = "blobs"
STREAM: Final = f"OBJ_{BUCKET}"
_PREFIX: Final = f"$O.{BUCKET}.C."
#: As nats-py cuts them.
CHUNK_BYTES: Final = 128 * 1024
#: Chunks that were sent and are not acknowledged: a megabyte of each upload.
_IN_FLIGHT: Final = 8
#: What one answer brings of a blob that is read.
_BATCH_BYTES: Final = 4 * 1024 * 1024
_SECONDS: Final = 5.0
#: On a slow disk the chunks of all uploads wait for each other.
_ACK_SECONDS: Final = 10.0
#: With each chunk: what is never described would not say otherwise which blob it was to be.
_OF: Final = "Sandstream-Blob"


@dataclass(frozen=True, slots=True)
class Chunks:
    """Where a blob's bytes are: `nuid` is the last word of their subject, `size` in bytes."""

    nuid: str
    count: int
    size: int

    @property
    def subject(self) -> str:
        return subject(self.nuid)


def subject(nuid: str) -> str:
    return f"{_PREFIX}{nuid}"


@dataclass(frozen=True, slots=True)
class Newest:
    """The last chunk of an upload: when it was stored, by the server's clock, and of which blob."""

    at: datetime
    sha256: str


async def write(client: Client, sha256: str, data: bytes) -> Chunks:
    """Store them, to be described. Raises LogFull, LogUnavailable, NatsError.

    What is never described, because this was cut short or another was first, `unused.py` finds.
    """
    made = Chunks(NUID().next().decode(), -(-len(data) // CHUNK_BYTES), len(data))
    inbox = client.new_inbox()
    acks = await client.subscribe(f"{inbox}.*")
    try:
        last = 0
        for number in range(made.count + _IN_FLIGHT):
            if number >= _IN_FLIGHT:
                last = await _acked(acks, f"{inbox}.{number - _IN_FLIGHT}", last)
            if number < made.count:
                piece = data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
                await client.publish(
                    made.subject, piece, reply=f"{inbox}.{number}", headers={_OF: sha256}
                )
    finally:
        with suppress(*BROKEN):  # a connection that is gone has forgotten it by itself
            await acks.unsubscribe()
    return made


async def _acked(acks: Subscription, reply: str, after: int) -> int:
    """The sequence of the next chunk. Their order in the stream is the order of the bytes."""
    answer = await acks.next_msg(timeout=_ACK_SECONDS)
    what = "store a chunk"
    if not answer.data:
        raise LogUnavailable(what, f"{answer.headers}")
    said = orjson.loads(answer.data)
    if (error := said.get("error")) is not None:
        if error.get("err_code") in FULL:
            raise LogFull(error["description"], STREAM)
        raise LogUnavailable(what, str(error))
    if answer.subject != reply or said["seq"] <= after:
        raise LogUnavailable(what, "the chunks were not stored in their order")
    return int(said["seq"])


async def read(client: Client, chunks: Chunks) -> bytes:
    """The bytes, in batched direct gets. Raises LogUnavailable, or NotFoundError: they are gone."""
    target = io.BytesIO()
    count = after = 0
    while count < chunks.count:
        batch, _ = await direct_get(
            client, STREAM, chunks.subject, after + 1, _SECONDS, max_bytes=_BATCH_BYTES
        )
        if not batch:
            # Any replica has answered; the leader knows whether there is one more.
            await client.jetstream().get_msg(STREAM, after + 1, chunks.subject, next=True)
            what = f"read chunk {count} of {chunks.count} of {chunks.nuid}"
            raise LogUnavailable(what, "the replica that answers is behind")
        target.writelines(message.data for message in batch)
        count, after = count + len(batch), batch[-1].sequence
    return target.getvalue()


async def nuids(client: Client) -> set[str]:
    """Of everything that has chunks, described or not. Raises LogUnavailable."""
    subjects = subjects_of(client, STREAM, f"{_PREFIX}>")
    return {name.removeprefix(_PREFIX) async for name in subjects}


async def newest(client: Client, nuid: str) -> Newest | None:
    """None when there is none, or it is another client's."""
    try:
        found = await client.jetstream().get_last_msg(STREAM, subject(nuid))
    except NotFoundError:
        return None
    sha256 = (found.headers or {}).get(_OF)
    return Newest(found.time, sha256) if found.time and sha256 else None


async def clock(client: Client) -> datetime:
    """The server's."""
    said = await _ask(client, f"$JS.API.STREAM.INFO.{STREAM}", {})
    return datetime.fromisoformat(said["ts"])


async def purge(client: Client, subject: str, upto: int | None = None) -> int:
    """How many messages were removed: all of a subject, or those up to a sequence."""
    query: dict[str, str | int] = {"filter": subject}
    if upto is not None:
        query["seq"] = upto + 1
    return int((await _ask(client, f"$JS.API.STREAM.PURGE.{STREAM}", query))["purged"])


async def _ask(client: Client, name: str, query: dict[str, str | int]) -> dict[str, Any]:
    answer = await client.request(name, orjson.dumps(query), timeout=_SECONDS)
    said: dict[str, Any] = orjson.loads(answer.data)
    if "error" in said:
        raise LogUnavailable(name, str(said["error"]))
    return said
