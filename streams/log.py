"""The event log: guarded appends, exact reads. The only truth about any submission."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol, TypeVar
from uuid import uuid4

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from streams import events
from streams.errors import Conflict, EntryTooLarge, LogFull, LogUnavailable
from streams.events import AnyEvent, Event
from streams.fold import Submission, fold_all
from streams.reading import BROKEN, Extent, answers, direct_get, extent
from streams.refusals import CONFLICTS, FULL
from streams.room import Room

_LOGGER: Final = logging.getLogger(__name__)
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
_TRIES: Final = 5
#: The first and last line of all headers, and room to spare.
_HEADERS_BYTES: Final = 64
_NO_MESSAGE: Final = 10037
_IN_FLIGHT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.02


class Sequenced(Protocol):
    """What stands in the log at a place."""

    @property
    def sequence(self) -> int: ...


Item = TypeVar("Item", bound=Sequenced)


class EventLog:
    """Append and read events. Every append is guarded by its submission's last sequence."""

    def __init__(
        self, client: Client, *, stream: str = events.STREAM, timeout: float = 5.0
    ) -> None:
        self._client = client
        self._stream = stream
        self._timeout = timeout
        self.room = Room(client, stream, timeout)

    async def append(self, event: Event, *, after: int) -> int:
        """Publish one event as the next of its submission; returns its sequence.

        `after` is the sequence of the submission's last event, 0 for none. Raises Conflict when
        there is a later one, LogFull, or LogUnavailable when no answer came: then the event may be
        there or not. Within one call it is tried again with the same message id, so that it is
        never there twice.
        """
        headers = _guard_headers(event, after) | {"Nats-Msg-Id": uuid4().hex}
        payload = events.encode(event)
        await self.room.check(event, len(payload))
        answer = await self._request(events.subject(event), payload, headers)
        try:
            return _sequence(answer, event.submission_id, after)
        except Conflict:
            sequence = await self._next_is(event, after, payload)
            if sequence is None:
                raise
            return sequence

    async def _next_is(self, event: Event, after: int, payload: bytes) -> int | None:
        """The sequence of what came next after `after`, if it is this payload.

        When a leader steps down it may store what it has refused, or never answered: the refusal
        of the next try then tells of our own event. Waits a while for what was refused against:
        it may be in flight, or not yet at the replica that answers.
        """
        subject = events.guard(event.submission_id, event.root)
        deadline = time.monotonic() + min(_IN_FLIGHT_SECONDS, self._timeout)
        while True:
            found, _ = await direct_get(
                self._client, self._stream, subject, after + 1, self._timeout, batch=1
            )
            if found:
                return found[0].sequence if found[0].data == payload else None
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(_LOOK_SECONDS)

    async def append_all(self, batch: Sequence[Event]) -> int:
        """Publish the first events of a new submission together: all are visible, or none.

        Returns the sequence of the last. An atomic batch's guards are judged against the state
        before it, so each message carries 0. Raises as `append` does; a batch that was not
        committed leaves nothing, and one whose answer was lost is found by reading the submission.
        """
        if len(batch) == 1:
            return await self.append(batch[0], after=0)
        await self.room.check(batch[0], sum(len(events.encode(event)) for event in batch))
        submission_id = batch[0].submission_id
        batch_id = uuid4().hex
        for number, event in enumerate(batch, start=1):
            headers = _guard_headers(event, 0) | {
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(number),
            }
            if number < len(batch):
                await self._publish(events.subject(event), events.encode(event), headers)
                continue
            headers["Nats-Batch-Commit"] = "1"
            answer = await self._request(
                events.subject(event), events.encode(event), headers, tries=1
            )
        return _sequence(answer, submission_id, 0)

    async def history(
        self, submission_id: str, root: str = events.ROOT, *, reaching: int = 0
    ) -> list[AnyEvent]:
        """Every event of one submission, in order; empty when there is none. See `fresh`."""
        subject = events.guard(submission_id, root)
        return await self.fresh(subject, lambda: self.read(subject=subject), reaching)

    async def state(
        self, submission_id: str, root: str = events.ROOT, *, reaching: int = 0
    ) -> Submission:
        """The fold of one submission's events, read from the log itself. See `fresh`."""
        return fold_all(await self.history(submission_id, root, reaching=reaching))

    async def fresh(
        self,
        guard: str,
        read: Callable[[], AsyncIterator[Item]],
        reaching: int = 0,
        *,
        after: int = 0,
    ) -> list[Item]:
        """What `read` reads of one guard's story (above `after`), as new as what the leader has.

        Any replica answers a direct get, and one that is behind would have us decide on less than
        was said already. `reaching`: a sequence of this submission that is known to be there.
        Raises LogUnavailable when the replica does not come to it in time.
        """
        want = max(reaching, await self.newest(guard))
        if want <= after:
            return []
        deadline = time.monotonic() + self._timeout
        while True:
            items = [item async for item in read()]
            if items and items[-1].sequence >= want:
                return items
            if time.monotonic() > deadline:
                what = f"read {guard} up to sequence {want}"
                raise LogUnavailable(what, "the replica that answers is behind")
            await asyncio.sleep(_LOOK_SECONDS)

    async def in_turn(
        self, guard: str, read: Callable[[int], AsyncIterator[Item]], *, after: int = 0
    ) -> AsyncIterator[Item]:
        """As `fresh`, but each as it is read: for a story that may be too large to hold.

        `read` takes the sequence to go on after. LogUnavailable may come after some items.
        """
        want = await self.newest(guard)
        deadline = time.monotonic() + self._timeout
        while after < want:
            async for item in read(after):
                after = item.sequence
                yield item
                deadline = time.monotonic() + self._timeout  # whoever takes them may be slow
            if after < want:
                if time.monotonic() > deadline:
                    what = f"read {guard} up to sequence {want}"
                    raise LogUnavailable(what, "the replica that answers is behind")
                await asyncio.sleep(_LOOK_SECONDS)

    async def newest(self, guard: str) -> int:
        """The sequence of a story's last event as the stream's leader has it, 0 for none."""
        name = f"$JS.API.STREAM.MSG.GET.{self._stream}"
        query = orjson.dumps({"last_by_subj": guard})
        what = f"ask for the newest event of {guard}"
        try:
            async with answers(self._client):  # it comes with all that it says
                answer = await self._client.request(name, query, timeout=self._timeout)
        except BROKEN as error:
            raise LogUnavailable(what, repr(error)) from error
        found = orjson.loads(answer.data)
        if "message" in found:
            return int(found["message"]["seq"])
        if found["error"].get("err_code") == _NO_MESSAGE:
            return 0
        raise LogUnavailable(what, str(found["error"]))

    async def read(
        self, *, subject: str = f"{events.ROOT}.>", after: int = 0, upto: int | None = None
    ) -> AsyncIterator[AnyEvent]:
        """Events that match `subject`, with sequences above `after` (and up to `upto`), in order.

        Ends at the end of the stream as it is then. Built on batched direct gets, which leave no
        consumer behind on the server.
        """
        start = after + 1
        while True:
            messages, pending = await direct_get(
                self._client, self._stream, subject, start, self._timeout
            )
            for message in messages:
                if upto is not None and message.sequence > upto:
                    return
                yield events.decode(
                    message.data, message.sequence, message.subject, message.headers
                )
            if not messages or pending == 0:
                return
            start = messages[-1].sequence + 1

    async def last_sequence(self) -> int:
        """The sequence of the newest message in the stream, 0 when there is none."""
        return (await self.extent()).last

    async def extent(self) -> Extent:
        """The first and the last sequence; what is older than the first has been archived."""
        return await extent(self._client, self._stream, seconds=self._timeout)

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Send without waiting for an answer: a batch is answered at its commit."""
        self._check(subject, payload, headers)
        try:
            await self._client.publish(subject, payload, headers=headers)
        except BROKEN as error:
            raise LogUnavailable(f"publish {subject}", repr(error)) from error

    async def _request(
        self, subject: str, payload: bytes, headers: dict[str, str], *, tries: int = _TRIES
    ) -> Msg:
        """Publish and wait for the ack; nats-py never repeats by itself."""
        self._check(subject, payload, headers)
        for attempt in range(1, tries + 1):
            try:
                return await self._client.request(
                    subject, payload, timeout=self._timeout, headers=headers
                )
            except (
                NatsTimeoutError,
                NoRespondersError,
                NoStreamResponseError,
                ServiceUnavailableError,
                OSError,
            ) as error:
                if attempt == tries:
                    raise LogUnavailable(f"publish {subject}", repr(error)) from error
                _LOGGER.warning("publish %s: %r; trying again", subject, error)
                await asyncio.sleep(0.1 * 2**attempt)
            except BROKEN as error:
                raise LogUnavailable(f"publish {subject}", repr(error)) from error
        raise AssertionError("unreachable")

    def _check(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Raises EntryTooLarge. The server closes the connection of who sends more.

        It counts headers as well, which nats-py does not.
        """
        size = len(payload) + sum(len(name) + len(value) + 4 for name, value in headers.items())
        if size + _HEADERS_BYTES > (most := self._client.max_payload):
            raise EntryTooLarge(f"publish {subject}", size, most)


def _guard_headers(event: Event, after: int) -> dict[str, str]:
    guard = events.guard(event.submission_id, event.root)
    return {_EXPECTED: str(after), _EXPECTED_SUBJECT: guard}


def _sequence(answer: Msg, submission_id: str, after: int) -> int:
    reply = orjson.loads(answer.data)
    error = reply.get("error")
    if error is None:
        return int(reply["seq"])
    code = error.get("err_code")
    if code in CONFLICTS:
        raise Conflict(submission_id, after)
    if code in FULL:
        raise LogFull(error.get("description", str(error)), reply.get("stream") or events.STREAM)
    raise LogUnavailable(f"append to {submission_id}", str(APIError(**error)))
