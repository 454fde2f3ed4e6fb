"""The read model: the fold of every submission in a KV bucket. Disposable, made from the log.

There are two buckets, one of them live; a rebuild fills the other from sequence 1 and then
switches, so that readers see no gap. `entries.py` says what an entry is.

Beside the entries each bucket has an index by time, keys without values:
`index.<block>.<sequence of submitted>.<id>`, where a block is `BLOCK` sequences. So a list of the
newest reads a few blocks, however many submissions there are. And `environment.<id>` says of each
environment that was built in which event all about it stands, and how often it was used.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from streams.content import Frozen
from streams.entries import Entry
from streams.errors import EntryTooLarge, LogUnavailable
from streams.events import DepsBuilt
from streams.fold import Submission
from streams.reading import subjects_of

_LOGGER: Final = logging.getLogger(__name__)
GENERATIONS: Final = ("a", "b")
POINTER_BUCKET: Final = "readmodel"
_LIVE_KEY: Final = "live"
#: Sequences of the log in one block of the index: some 150 submissions.
BLOCK: Final = 1000


def bucket(generation: str) -> str:
    return f"submissions-{generation}"


BUCKETS: Final = (POINTER_BUCKET, *map(bucket, GENERATIONS))


class Built(Frozen):
    """An environment: the event `sequence` of `submission_id` says all about its making.

    `warm`: that is a story of the environment itself. `hits` counts who found it there or joined
    its build, up to the event `last_sequence`.
    """

    id: str
    how: str
    submission_id: str
    sequence: int
    at: datetime
    by: str = ""
    warm: bool = False
    size_bytes: int | None = None
    hits: int = 0
    last_used: datetime | None = None
    last_sequence: int = 0


def where(event: DepsBuilt) -> Built | None:
    """The environment that an event made. A container's own is gone with the container."""
    if event.environment is None or event.how == "in-container":
        return None
    return Built(
        id=event.environment.id,
        how=event.how,
        submission_id=event.submission_id,
        sequence=event.sequence,
        at=event.at,
        by=event.by,
        warm=event.warm,
        size_bytes=event.environment.size_bytes,
        hits=int(event.how != "built"),
        last_used=event.at,
        last_sequence=event.sequence,
    )


class Progress(Frozen):
    """How far the log has been folded; `open`: submissions that have not ended by then."""

    sequence: int = 0
    open: int = 0


class Generation:
    """One of the two buckets: entries by submission id, and how far the log has been folded."""

    def __init__(self, name: str, kv: KeyValue, pointers: KeyValue, most_bytes: int) -> None:
        self.name = name
        self._most_bytes = most_bytes
        self._kv = kv
        self._pointers = pointers

    async def get(self, submission_id: str) -> tuple[Entry, int] | None:
        """The entry and its revision, or None."""
        try:
            found = await self._kv.get(submission_id)
        except (KeyNotFoundError, NotFoundError):
            return None
        except (NatsError, JetStreamError) as error:
            what = f"read {submission_id} from the read model"
            raise LogUnavailable(what, repr(error)) from error
        try:
            entry = Entry.model_validate_json(found.value or b"")
        except ValidationError:
            # Of another version of ours: as if all of it were left out, so the log is read.
            entry = Entry(submission=Submission(id=submission_id), elided=True)
        return entry, found.revision or 0

    async def put(self, value: Entry, revision: int) -> int | None:
        """Write over `revision` (0: nothing is there); None when another writer was first.

        Raises EntryTooLarge, LogUnavailable.
        """
        data = value.model_dump_json().encode()
        what = f"write {value.submission.id} to the read model"
        try:
            return await self._kv.update(value.submission.id, data, last=revision)
        except KeyWrongLastSequenceError:
            return None
        except MaxPayloadError as error:  # a NatsError too, but the server is there
            raise EntryTooLarge(what, len(data), self._most_bytes) from error
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable(what, repr(error)) from error

    async def checkpoint(self) -> int:
        """Every event up to this sequence is folded in."""
        return (await self.progress()).sequence

    async def progress(self) -> Progress:
        """The checkpoint, and what was counted on the way to it."""
        try:
            found = await self._pointers.get(f"checkpoint-{self.name}")
        except (KeyNotFoundError, NotFoundError):
            return Progress()
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("read the read model's checkpoint", repr(error)) from error
        try:
            return Progress.model_validate_json(found.value or b"{}")
        except ValidationError as error:
            # Of another version of ours. The read model is disposable: fold the log again.
            _LOGGER.warning("checkpoint of %s is not readable, starting over: %s", self.name, error)
            return Progress()

    async def set_progress(self, progress: Progress) -> None:
        """Sequence and count in one value: a crash can't tear them apart."""
        try:
            data = progress.model_dump_json().encode()
            await self._pointers.put(f"checkpoint-{self.name}", data)
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("write the read model's checkpoint", repr(error)) from error

    async def note(self, sequence: int, submission_id: str) -> None:
        """Put a submission into the index at its first event; again does no harm."""
        key = f"index.{sequence // BLOCK}.{sequence}.{submission_id}"
        try:
            await self._kv.put(key, b"")
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable(f"index {submission_id}", repr(error)) from error

    async def block(self, client: Client, number: int) -> list[tuple[int, str]]:
        """One block of the index: (sequence of its first event, id), newest first."""
        prefix = f"$KV.{bucket(self.name)}.index.{number}."
        found = []
        async for subject in subjects_of(client, f"KV_{bucket(self.name)}", f"{prefix}>"):
            sequence, submission_id = subject.removeprefix(prefix).split(".")
            found.append((int(sequence), submission_id))
        return sorted(found, reverse=True)

    async def used(
        self, environment_id: str, change: Callable[[Built | None], Built | None]
    ) -> None:
        """Note what events say of an environment; `change` leaves alone what it has seen."""
        key = f"environment.{environment_id}"
        while True:
            known, revision = await self._environment(environment_id)
            now = change(known)
            if now is None or now == known:
                return
            try:
                await self._kv.update(key, now.model_dump_json().encode(), last=revision)
            except KeyWrongLastSequenceError:
                continue
            except (NatsError, JetStreamError) as error:
                raise LogUnavailable(f"note environment {environment_id}", repr(error)) from error
            return

    async def environment(self, environment_id: str) -> Built | None:
        """Where this environment was built, and how often it was used."""
        return (await self._environment(environment_id))[0]

    async def _environment(self, environment_id: str) -> tuple[Built | None, int]:
        try:
            found = await self._kv.get(f"environment.{environment_id}")
        except (KeyNotFoundError, NotFoundError):
            return None, 0
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable(f"read environment {environment_id}", repr(error)) from error
        return Built.model_validate_json(found.value or b""), found.revision or 0

    async def environments(self, client: Client) -> list[str]:
        """The id of every environment that was built, sorted."""
        prefix = f"$KV.{bucket(self.name)}.environment."
        subjects = subjects_of(client, f"KV_{bucket(self.name)}", f"{prefix}*")
        return sorted([subject.removeprefix(prefix) async for subject in subjects])

    async def ids(self, client: Client) -> list[str]:
        """Every submission in it, sorted by id."""
        prefix = f"$KV.{bucket(self.name)}."
        found = [
            subject.removeprefix(prefix)
            async for subject in subjects_of(client, f"KV_{bucket(self.name)}", f"{prefix}*")
        ]
        return sorted(found)

    async def index_before(self, client: Client, first: int) -> AsyncIterator[str]:
        """The keys of the index that stand for submissions from before a sequence."""
        prefix = f"$KV.{bucket(self.name)}."
        subjects = subjects_of(client, f"KV_{bucket(self.name)}", f"{prefix}index.>")
        async for subject in subjects:
            key = subject.removeprefix(prefix)
            if int(key.split(".")[2]) < first:
                yield key

    async def forget(self, client: Client, key: str) -> None:
        """Leave nothing of a key, no marker either; only done when its events left the log."""
        name = bucket(self.name)
        try:
            await client.jetstream().purge_stream(f"KV_{name}", subject=f"$KV.{name}.{key}")
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable(f"forget {key} of the read model", repr(error)) from error

    async def clear(self, client: Client) -> None:
        """Forget everything; only ever done to the generation that is not live."""
        try:
            await client.jetstream().purge_stream(f"KV_{bucket(self.name)}")
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("clear the spare read model", repr(error)) from error
        await self.set_progress(Progress())


class ReadModel:
    """Which generation is live, and both of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream()

    async def live(self) -> Generation:
        return await self.generation(await self._live_name())

    async def spare(self) -> Generation:
        """The one that a rebuild may fill."""
        name = await self._live_name()
        return await self.generation(next(g for g in GENERATIONS if g != name))

    async def generation(self, name: str) -> Generation:
        try:
            return Generation(
                name,
                await self._js.key_value(bucket(name)),
                await self._js.key_value(POINTER_BUCKET),
                self._client.max_payload,
            )
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("open the read model", repr(error)) from error

    async def switch_to(self, generation: Generation) -> None:
        try:
            pointers = await self._js.key_value(POINTER_BUCKET)
            await pointers.put(_LIVE_KEY, generation.name.encode())
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("switch the read model", repr(error)) from error

    async def _live_name(self) -> str:
        try:
            pointers = await self._js.key_value(POINTER_BUCKET)
            found = await pointers.get(_LIVE_KEY)
        except (KeyNotFoundError, NotFoundError):
            return GENERATIONS[0]
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable("find the live read model", repr(error)) from error
        return (found.value or GENERATIONS[0].encode()).decode()
