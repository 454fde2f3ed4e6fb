"""What a job takes of a disk: inodes and folders too, and files that have no name any more.

Who writes the tree would rather not be counted, and goes on meanwhile.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from init import cgroupfs, folders

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

#: No inode costs less: that of a folder, and of an empty file.
INODE_BYTES: Final = 4096
#: Of a file's further names, which cost no inode, there may be one for each of these.
BYTES_PER_NAME: Final = 1024


class TooMuchError(Exception):
    """More than the limit. What there is of it was not looked at to the end."""


def of_inode(status: os.stat_result) -> int:
    """Bytes; of a sparse file the larger figure, as a copy of it has no holes."""
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return max(status.st_blocks * 512, size, INODE_BYTES)


def size_of(folder: str, limit: int, ended: Callable[[], bool] = lambda: False) -> int:
    """Bytes of a folder and all below it, each inode once.

    Raises TooMuchError as soon as it is above the limit, or has more names than that allows, so
    the limit bounds the walk as well; and UnreadableError. Once it has `ended` nobody looks at
    the answer.
    """
    total = 0
    linked: set[int] = set()
    most_names = limit // BYTES_PER_NAME
    for names, status in enumerate(folders.walk(folder), start=1):
        if status.st_ino not in linked:
            total += of_inode(status)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            linked.add(status.st_ino)
        if total > limit or names > most_names:
            raise TooMuchError
        if ended():
            break
    return total


def size_of_nameless(
    group: str, devices: Collection[int], ended: Callable[[], bool] = lambda: False
) -> int:
    """Bytes of files on these devices that were unlinked and that a process still has open.

    Of all processes and threads of a cgroup and of those below it, as far as they let us see.
    """
    found: dict[tuple[int, int], int] = {}
    for path in _descriptors(group):
        if ended():
            break
        try:
            status = os.stat(path)
        except OSError:
            continue  # closed meanwhile
        if status.st_nlink == 0 and stat.S_ISREG(status.st_mode) and status.st_dev in devices:
            found[status.st_dev, status.st_ino] = of_inode(status)
    return sum(found.values())


def _descriptors(group: str) -> Iterator[str]:
    for pid in pids_of(group):
        for thread in _listed(f"/proc/{pid}/task"):  # each may have a table of its own
            table = f"/proc/{pid}/task/{thread}/fd"
            yield from (f"{table}/{fd}" for fd in _listed(table))


def pids_of(group: str) -> list[int]:
    """Members of a cgroup and of those below it that are in our pid namespace.

    None of one that is gone.
    """
    try:
        return [pid for pid in cgroupfs.members(group) if pid]
    except OSError:  # removed while it was read
        return []


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
