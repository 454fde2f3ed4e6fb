"""Old periods out of the log and into files: written, read back, noted, and only then removed.

The order makes it safe to be cut short anywhere: until the purge the log holds everything, and
what comes after it can be done again at the next run.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from streams import events
from streams.archive import SUFFIX, Blob, End, Head, Length, Writer, named, read
from streams.archived import Archived, Register
from streams.blobs import Blobs
from streams.content import by_digest
from streams.errors import ArchiveDamaged, ArchiveRefused, BlobMissing
from streams.leaving import Story, Survey
from streams.reading import Extent, Stored, extent
from streams.readmodel import ReadModel
from streams.transfer import every

Say = Callable[[str], None]
#: Noted on the stream itself, which only an admin can change: the digest that the last file of
#: the archive ends with, and the sequence up to which the archive reaches.
DIGEST: Final = "sandstream.archive.digest"
UPTO: Final = "sandstream.archive.upto"
_AT_ONCE: Final = 32
#: What ends what has not ended: a submission, or an environment that waits.
_REMEDY: Final = {
    False: "`.venv/bin/sandstream cancel` ends it",
    True: "a builder of its channel has to run, or whoever asked for it withdraws",
}


@dataclass(frozen=True, slots=True)
class Left:
    """One period that has left the log."""

    file: Path
    head: Head
    end: End
    submissions: int

    def line(self) -> str:
        return (
            f"{self.file}: sequences {self.head.first} to {self.head.last}, "
            f"{self.submissions} submissions, {self.end.blobs} blobs, sha256 {self.end.digest}"
        )


async def archive(
    client: Client, folder: Path, before: datetime, length: Length, say: Say
) -> list[Left]:
    """Every period that may leave. Raises ArchiveRefused, ArchiveDamaged, LogUnavailable."""
    with _alone(folder):
        held = await extent(client)
        config = (await client.jetstream(timeout=30).stream_info(events.STREAM)).config
        if config.deny_purge:
            raise ArchiveRefused(
                "this log was made to be kept for ever, nobody can take anything out of it: copy "
                "it (`.venv/bin/python -m streams copy`) to servers with SANDSTREAM_KEEP_DAYS "
                "above 0"
            )
        survey = Survey(length, before)
        async for batch in every(client, held.first - 1, held.last):
            for message in batch:
                survey.add(message)
        periods = survey.may_leave()
        if not periods:
            say(why_not(survey, held, before))
        elif (seen := await (await ReadModel(client).live()).checkpoint()) < held.last:
            raise ArchiveRefused(
                f"the read model has come to sequence {seen} of {held.last} only: start a "
                "projector and try again, or it would never learn how these ended"
            )
        gone = []
        first = held.first
        for name, last in periods:
            one = await _leave(client, folder, survey, Extent(first, last), name)
            say(one.line())
            gone.append(one)
            first = last + 1
    return gone


async def _leave(client: Client, folder: Path, survey: Survey, span: Extent, name: str) -> Left:
    """One period: its file, its entries in the register, its place in the chain, its removal."""
    js = client.jetstream(timeout=60)
    config = (await js.stream_info(events.STREAM)).config
    noted = config.metadata or {}
    file = folder / f"{name}{SUFFIX}"
    if int(noted.get(UPTO, 0)) < span.last:
        head = Head(name, span.first, span.last, noted.get(DIGEST, ""))
        await _write(client, file, head)
    # Else an earlier run was cut short before the purge, and the file is there.
    head, end = await _compared(client, file, span)
    stories = survey.beginning_in(span.first, span.last)
    await _note(Register(client), name, stories)
    noted |= {DIGEST: end.digest, UPTO: str(span.last)}
    await js.update_stream(replace(config, metadata=noted))
    await js.purge_stream(events.STREAM, seq=span.last + 1)
    return Left(file, head, end, len(stories))


async def _note(register: Register, name: str, stories: Mapping[str, Story]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(id_: str, story: Story) -> None:
        async with slots:
            if story.began is None and await register.find(id_) is not None:
                return  # the rest of one that began in an earlier period
            entry = Archived(
                id=id_,
                period=name,
                sequence=story.first,
                status=story.status,
                submitted_at=story.began,
            )
            await register.note(entry)

    await asyncio.gather(*(one(id_, story) for id_, story in stories.items()))


async def _write(client: Client, file: Path, head: Head) -> None:
    blobs = Blobs(client)
    writer = Writer(file, head)
    seen: set[str] = set()
    async for batch in every(client, head.first - 1, head.last):
        for message in batch:
            for sha256 in sorted(named(message.data) - seen):
                seen.add(sha256)
                writer.blob(await _blob(blobs, sha256))
            writer.message(message)
    writer.close()


async def _blob(blobs: Blobs, sha256: str) -> Blob:
    """What is missing already is said to be so: a log with a fault must not be kept for ever."""
    content = by_digest(b"").model_copy(update={"sha256": sha256})
    try:
        return Blob(sha256, await blobs.bytes_of(content))
    except BlobMissing:
        return Blob(sha256, None)


async def _compared(client: Client, file: Path, span: Extent) -> tuple[Head, End]:
    """Read the file back and hold it against the log. Raises ArchiveDamaged."""
    lines = read(file)
    head = next(lines)
    if not isinstance(head, Head) or (head.first, head.last) != (span.first, span.last):
        raise ArchiveDamaged(file, f"it begins with {head}, not with {span}")
    async for batch in every(client, span.first - 1, span.last):
        for message in batch:
            if _same(_next_message(lines)) != _same(message):
                raise ArchiveDamaged(file, f"it differs from the log at {message.sequence}")
    end = _last(lines)
    if end is None:
        raise ArchiveDamaged(file, "it holds more than the log")
    return head, end


def _next_message(lines: Iterator[Head | Blob | Stored | End]) -> Stored | None:
    return next((line for line in lines if isinstance(line, Stored)), None)


def _last(lines: Iterator[Head | Blob | Stored | End]) -> End | None:
    rest = list(lines)
    return rest[0] if len(rest) == 1 and isinstance(rest[0], End) else None


def _same(message: Stored | None) -> tuple[int, str, bytes, dict[str, str]] | None:
    if message is None:
        return None
    return message.sequence, message.subject, message.data, message.own_headers


def why_not(survey: Survey, held: Extent, before: datetime) -> str:
    """Why no period may leave, and what to do."""
    waiting = survey.open_from()
    if waiting is not None:
        return (
            f"nothing leaves: {waiting}, and everything from its beginning (sequence "
            f"{waiting.first}) on stays; {_REMEDY[waiting.environment]}"
        )
    return (
        f"nothing leaves: of sequences {held.first} to {held.last} no period is over before "
        f"{before.isoformat(timespec='minutes')}"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time writes into a folder. Raises ArchiveRefused."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveRefused(f"another run writes into {folder}") from None
        yield
