"""Files of the archive, one after the other, as the events that they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from streams.archive import Blob, End, Head, read
from streams.errors import ArchiveDamaged, Undecodable
from streams.events import AnyEvent, decode


def first_of(file: Path) -> int:
    """The sequence that it begins with. Raises ArchiveDamaged."""
    head = next(read(file))
    assert isinstance(head, Head)  # noqa: S101 - `read` yields it first
    return head.first


def events_in(files: Iterable[Path]) -> Iterator[AnyEvent | Undecodable]:
    """Raises ArchiveDamaged where one is not what it was, or does not follow the one before."""
    before: tuple[Head, End] | None = None
    for file in sorted(files, key=first_of):
        head: Head | None = None
        for item in read(file):
            match item:
                case Head():
                    _follows(file, before, item)
                    head = item
                case Blob():
                    pass
                case End():
                    assert head is not None  # noqa: S101 - `read` yields it first
                    before = head, item
                case _:
                    try:
                        yield decode(item.data, item.sequence, item.subject, item.headers)
                    except Undecodable as error:
                        yield error


def _follows(file: Path, before: tuple[Head, End] | None, head: Head) -> None:
    if before is None:
        return
    last, end = before
    if head.first != last.last + 1:
        raise ArchiveDamaged(file, f"sequences {last.last + 1} to {head.first - 1} are missing")
    if head.previous != end.digest:
        raise ArchiveDamaged(file, f"the file before it ended otherwise than it says: {last}")
