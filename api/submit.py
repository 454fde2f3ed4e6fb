"""The API's writes: a new submission, a failed one's retry, and the wish that one be cancelled."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Final

from api.bound import Bound
from api.ids import id_of_key, id_of_retry, new_id
from api.problems import Fault, Problem, invalid, too_large
from api.request import Accepted
from api.states import States
from streams.blobs import Blobs
from streams.environments import environment_id, shell_files
from streams.errors import Conflict, LogUnavailable
from streams.events import CancelRequested, DepsQueued, Submitted, encode
from streams.fold import Status, Submission, fold_all
from streams.log import EventLog

#: One message holds at most this: `max_payload` of the server, less its headers.
EVENT_BYTES: Final = 8 * 1024 * 1024 - 64 * 1024
#: A submission has few writers at a time: whoever loses so often meets a fault, not a race.
_TRIES: Final = 10
#: The server holds at most 50 open batches for a stream: this leaves room for two more of us.
_BATCHES: Final = 16
#: How long a write is tried anew.
_PATIENCE_SECONDS: Final = 2.0
_KEY_LETTERS: Final = 255
#: Before a submission's id it is what `submitted` of that one's retry has as its key.
RETRY_OF: Final = "retry-of-"


def by() -> str:
    """Who speaks: process and host."""
    return f"api@{socket.gethostname()}"


def key_of(header: str | None) -> str | None:
    """The Idempotency-Key. Raises Problem 422 when it is none."""
    if header is None:
        return None
    if not 0 < len(header) <= _KEY_LETTERS or not header.isprintable():
        message = f"must be 1 to {_KEY_LETTERS} printable characters, for example a UUID"
        raise invalid([Fault("header/Idempotency-Key", message)])
    if header.startswith(RETRY_OF):
        message = f"must not begin with {RETRY_OF}: POST /submissions/{{id}}/retry makes such a one"
        raise invalid([Fault("header/Idempotency-Key", message)])
    return header


def story(
    accepted: Accepted, submission_id: str, channel: str, key: str | None
) -> list[Submitted | DepsQueued]:
    """The first events of a submission. Without a cache nothing is asked of a builder."""
    author = by()
    submitted = Submitted(
        submission_id=submission_id,
        by=author,
        request=accepted.request,
        environment_id=accepted.environment_id,
        channel=channel,
        idempotency_key=key,
        request_sha256=accepted.sha256,
    )
    if not accepted.request.cache:
        return [submitted]
    queued = DepsQueued(
        submission_id=submission_id,
        by=author,
        environment_id=accepted.environment_id,
        channel=channel,
        files=shell_files(accepted.request.files),
        limits=accepted.request.limits,
    )
    return [submitted, queued]


class Submissions:
    """Writes them, and finds out what became of a write whose answer was lost."""

    def __init__(
        self, log: EventLog, blobs: Blobs, states: States, bound: Bound, channel: str
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._states = states
        self._bound = bound
        self._channel = channel
        self._slots = asyncio.Semaphore(_BATCHES)

    async def create(
        self, accepted: Accepted, key: str | None, caller: str | None
    ) -> tuple[Submission, bool]:
        """The submission, and whether it was there before (the same key, the same request).

        Raises Problem 409 when the caller's key stands for another request, 429 when too many are
        under way, LogUnavailable, LogFull.
        """
        if key is None:
            return await self._record(new_id(), accepted, None)
        submission_id = id_of_key(key, caller)
        if (found := await self._states.find(submission_id)) is not None:
            return _same(found, accepted), True
        return await self._record(submission_id, accepted, key)

    async def retry(self, submission_id: str) -> tuple[Submission, bool]:
        """One that we gave up, sent once more; and whether it was before. Raises as `create` does.

        The request comes from the log, so that nobody else can put one in its place.
        """
        state = await self._states.now(submission_id)
        if state.status is not Status.FAILED or state.request is None:
            raise Problem(
                409,
                f"submission {submission_id} is {state.status}: only a failed one can be retried",
                type_="/problems/not-failed",
                title="The submission has not failed",
            )
        new = id_of_retry(submission_id)
        if (found := await self._states.find(new)) is not None:
            return found, True
        accepted = await _once_more(state, self._blobs, self._channel)
        return await self._record(new, accepted, RETRY_OF + submission_id)

    async def _record(
        self, submission_id: str, accepted: Accepted, key: str | None
    ) -> tuple[Submission, bool]:
        await self._bound.check()
        events = story(accepted, submission_id, self._channel, key)
        if max(len(encode(event)) for event in events) > EVENT_BYTES:
            raise too_large(EVENT_BYTES)
        await self._blobs.put_all(accepted.blobs)
        last = await self._append(events)
        if last is None:
            # Another request with this key was first, or what we took for lost was heard.
            return _same(await self._states.now(submission_id), accepted), key is not None
        self._bound.accepted(last)
        # A batch is stored in one piece: its sequences follow each other.
        first = last - len(events) + 1
        stored = (
            event.model_copy(update={"sequence": sequence})
            for sequence, event in enumerate(events, start=first)
        )
        return fold_all(stored), False

    async def _append(self, events: Sequence[Submitted | DepsQueued]) -> int | None:
        """The last one's sequence; None when the submission is there already.

        After a lost answer the log is asked. What is not there is tried again, unless the time is
        up: the guard sees to it that it is never there twice.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                async with self._slots:
                    return await self._log.append_all(events)
            except Conflict:
                return None
            except LogUnavailable:
                if await self._states.find(events[0].submission_id) is not None:
                    return None
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def cancel(self, submission_id: str) -> Submission:
        """The submission with a durable wish to end it. Raises Problem 404, or 409 at its end."""
        for _ in range(_TRIES):
            # its outline: a large one's story takes longer to read than its next event to come
            state = await self._states.outline(submission_id)
            if state.ended:
                raise Problem(
                    409,
                    f"submission {submission_id} has ended already: {state.status}",
                    type_="/problems/ended",
                    title="The submission has ended",
                )
            if state.cancel_requested:
                return state
            event = CancelRequested(submission_id=submission_id, by=by())
            try:
                await self._log.append(event, after=state.sequence)
            except Conflict:
                continue
            return await self._states.outline(submission_id)
        raise LogUnavailable(f"cancel {submission_id}", f"refused {_TRIES} times in a row")


async def _once_more(state: Submission, blobs: Blobs, channel: str) -> Accepted:
    """What was accepted before, under the channel of today; its blobs are there already.

    Its limits stay what they were: they were within the maxima of their day.
    """
    request = state.request
    assert request is not None  # noqa: S101 - looked at by the caller
    shell = [(file.name, await blobs.bytes_of(file.content)) for file in shell_files(request.files)]
    return Accepted(
        request=request,
        environment_id=environment_id(shell, channel),
        blobs={},
        sha256=state.request_sha256,
    )


def _same(found: Submission, accepted: Accepted) -> Submission:
    if found.request_sha256 == accepted.sha256:
        return found
    raise Problem(
        409,
        "this Idempotency-Key stands for another request: send a new key with a new request",
        type_="/problems/key-reused",
        title="Idempotency-Key used before",
    )
