"""A file of the archive: one period's messages as they were, the blobs they name, and a chain.

Compressed lines of JSON. The first says what the file is and how the one before it ended, then
come the messages in order, each blob before the first message that names it, and at last how many
there were. Every line's digest covers the one before: what is changed, left out or put in
elsewhere is found by reading. Pure but for the file; the same messages make the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from streams.errors import ArchiveDamaged
from streams.reading import Stored

VERSION: Final = 1
SUFFIX: Final = ".jsonl.gz"
Length = Literal["day", "month"]


def period(at: datetime, length: Length) -> str:
    """`2026-10-31` or `2026-10`, by UTC."""
    day = at.astimezone(UTC).date().isoformat()
    return day if length == "day" else day[: len("2026-10")]


def end_of(name: str) -> datetime:
    """The first moment after a period."""
    if len(name) == len("2026-10-31"):
        return datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    year, month = map(int, name.split("-"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def named(data: bytes) -> set[str]:
    """The digests of the blobs that an event names, whatever its version; none when damaged."""
    try:
        return set(_named(orjson.loads(data)))
    except orjson.JSONDecodeError:
        return set()


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("data", "") is None and isinstance(value.get("sha256"), str):
            yield value["sha256"]
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


@dataclass(frozen=True, slots=True)
class Head:
    """What a file holds; `previous`: the digest that the file before it ended with."""

    period: str
    first: int
    last: int
    previous: str

    def line(self) -> bytes:
        return orjson.dumps(
            {
                "sandstream_archive": VERSION,
                "period": self.period,
                "first": self.first,
                "last": self.last,
                "previous": self.previous,
            }
        )


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that messages name by their digest; None where they were missing already."""

    sha256: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class End:
    """The last line. `digest` is what the next file begins with."""

    events: int
    blobs: int
    digest: str


class Writer:
    """Writes beside the file's name; `close` puts the whole there, on the disk, or nothing."""

    def __init__(self, file: Path, head: Head) -> None:
        self.file = file
        self._fresh = file.with_name(f".{file.name}.new")
        self._raw = self._fresh.open("wb")
        # No name and no time in it: the same messages make the same bytes.
        self._out = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0)
        self._chain = hashlib.sha256()
        self._events = 0
        self._blobs = 0
        self._put(head.line())

    def message(self, message: Stored) -> None:
        self._events += 1
        fields: dict[str, Any] = {
            "sequence": message.sequence,
            "subject": message.subject,
            "headers": message.own_headers,
        }
        self._put(orjson.dumps(fields | _text(message.data)))

    def blob(self, blob: Blob) -> None:
        self._blobs += 1
        fields: dict[str, Any] = {"blob": blob.sha256, "base64": None}
        if blob.data is not None:
            fields["base64"] = base64.b64encode(blob.data).decode("ascii")
        self._put(orjson.dumps(fields))

    def close(self) -> None:
        """Raises ArchiveDamaged when another file bears the name."""
        self._out.write(
            orjson.dumps(
                {"events": self._events, "blobs": self._blobs, "digest": self._chain.hexdigest()}
            )
        )
        self._out.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        if self.file.exists() and self.file.read_bytes() != self._fresh.read_bytes():
            raise ArchiveDamaged(
                self.file, f"another file bears this name; the new one is {self._fresh}"
            )
        self._fresh.replace(self.file)
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _put(self, line: bytes) -> None:
        self._out.write(line + b"\n")
        self._chain = _chained(self._chain.digest(), line)


def read(file: Path) -> Iterator[Head | Blob | Stored | End]:
    """Everything in it, in order, the head first and the end last. Raises ArchiveDamaged."""
    try:
        with gzip.open(file, "rb") as lines:
            yield from _read(file, iter(lines))
    except (EOFError, OSError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise ArchiveDamaged(file, repr(error)) from error


def _read(file: Path, lines: Iterator[bytes]) -> Iterator[Head | Blob | Stored | End]:
    chain = hashlib.sha256()
    head: Head | None = None
    events = blobs = 0
    for raw in lines:
        line = raw.removesuffix(b"\n")
        fields = orjson.loads(line)
        if "digest" in fields:
            end = End(events, blobs, chain.hexdigest())
            if fields != {"events": events, "blobs": blobs, "digest": end.digest}:
                raise ArchiveDamaged(file, f"its end says {fields}, its lines {end}")
            if head is None or events != head.last - head.first + 1:
                raise ArchiveDamaged(file, f"{events} events are not what {head} promises")
            yield end
            if next(lines, None) is not None:
                raise ArchiveDamaged(file, "there is more behind its end")
            return
        chain = _chained(chain.digest(), line)
        if head is None:
            if fields["sandstream_archive"] != VERSION:
                raise ArchiveDamaged(file, f"version {fields['sandstream_archive']} is not known")
            head = Head(fields["period"], fields["first"], fields["last"], fields["previous"])
            yield head
        elif "blob" in fields:
            blobs += 1
            yield _blob(file, fields)
        else:
            if fields["sequence"] != head.first + events:
                raise ArchiveDamaged(file, f"sequence {head.first + events} is missing")
            events += 1
            headers = fields["headers"] | {"Nats-Subject": fields["subject"]}
            yield Stored(fields["sequence"], _bytes(fields), headers)
    raise ArchiveDamaged(file, "it ends in the middle")


def _blob(file: Path, fields: Mapping[str, Any]) -> Blob:
    if fields["base64"] is None:
        return Blob(fields["blob"], None)
    data = base64.b64decode(fields["base64"])
    if hashlib.sha256(data).hexdigest() != fields["blob"]:
        raise ArchiveDamaged(file, f"blob {fields['blob']} holds other bytes")
    return Blob(fields["blob"], data)


def _chained(before: bytes, line: bytes) -> hashlib._Hash:
    return hashlib.sha256(before + line)


def _text(data: bytes) -> dict[str, str]:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _bytes(fields: Mapping[str, Any]) -> bytes:
    if "data" in fields:
        return str(fields["data"]).encode()
    return base64.b64decode(fields["base64"])
