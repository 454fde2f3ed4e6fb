"""Uids for containers: no two live ones share any, on this host, whatever worker they belong to.

With one uid two containers could join each other's cgroups and send each other signals. The
range is cut into slices. A slice belongs to one worker's name for good (a file says so), because
containers of a worker that was killed live on until a worker of that name cleans up.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import LeftBehind, NoUids


class Uids:
    """A slice of the range; the uid that was given back longest ago is lent next."""

    def __init__(self, uids: range) -> None:
        self._free = deque(uids)

    @contextmanager
    def lent(self) -> Iterator[int]:
        if not self._free:
            raise NoUids("every uid of this worker's slice is in use: SANDSTREAM_UID_SLICE_SIZE")
        uid = self._free.popleft()
        try:
            yield uid
        except LeftBehind:  # its container may live on: nobody else gets this uid
            raise
        except BaseException:
            self._free.append(uid)
            raise
        self._free.append(uid)


def claim(folder: Path, worker: str, *, first: int, slices: int, size: int) -> range:
    """The worker's slice: the one it has always had, or the first that is nobody's."""
    folder.mkdir(parents=True, exist_ok=True)
    free: list[int] = []
    for number in range(slices):
        owner = _owner(folder / str(number))
        if owner == worker:
            return _uids(first, number, size)
        if owner is None:
            free.append(number)
    for number in free:
        if _take(folder / str(number), worker):
            return _uids(first, number, size)
    raise NoUids(f"all {slices} slices are taken; remove those of workers that are gone: {folder}")


def _uids(first: int, number: int, size: int) -> range:
    return range(first + number * size, first + (number + 1) * size)


def _owner(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None


def _take(file: Path, worker: str) -> bool:
    """Atomic against another worker that starts now: the file appears with its content."""
    made = file.with_name(f".{worker}")
    made.write_text(worker)
    try:
        os.link(made, file)
    except FileExistsError:
        return False
    else:
        return True
    finally:
        made.unlink()
