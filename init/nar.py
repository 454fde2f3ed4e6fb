"""The paths that a build left, as one NAR: the only form in which they leave the untrusted side.

A NAR (Nix archive) holds regular files with one executable bit, symbolic links and folders.
Owners, other modes, times, hard links, devices and extended attributes have no place in it, so
none of them reaches the store. File names are bytes: a name that is not UTF-8 stays what it is,
as in Nix itself.

The tree was written by an untrusted program, all of whose processes are dead. Every step is
relative to an open folder, so no link is followed and a tree may be deeper than any path is long.
Two descriptors are open at any time, and no file is held in memory.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH101

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC: Final = b"nix-archive-1"
#: A folder's names have to be sorted, so all are held at once: this bounds them.
MAX_ENTRIES: Final = 500_000
#: No piece is longer.
PIECE_BYTES: Final = 1 << 20

#: A message names so many components at the beginning of a path, and the last.
_NAMED: Final = 4
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME_ONLY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: What the kernel says when the tree itself is at fault, not the machine.
_OF_THE_TREE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM}
)


class NarError(Exception):
    """A tree that can't be a NAR: a missing name, another kind of file, or it changed meanwhile."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def word(value: bytes) -> bytes:
    """One string as a NAR has it: its length, its bytes, zeros up to a multiple of eight."""
    return number(len(value)) + value + bytes(-len(value) % 8)


def words(*values: bytes) -> bytes:
    return b"".join(map(word, values))


def pieces(folder: str, names: Iterable[str]) -> Iterator[bytes]:
    """The NAR of a folder that holds exactly `names`, each taken from `folder`, piece by piece.

    A folder or file of ours that can't be read is made readable. Raises ValueError for what is
    no name, NarError for what can't be in a NAR, and OSError for a fault of the machine.
    """
    waiting = bytearray()
    for part in _parts(folder, _top(names)):
        if len(waiting) + len(part) > PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
        if len(part) == PIECE_BYTES:
            yield part
        else:
            waiting += part
    yield bytes(waiting)  # never empty: a NAR ends in a short part


def _top(names: Iterable[str]) -> list[bytes]:
    """The names at the top, last one first. Raises ValueError."""
    given = [os.fsencode(name) for name in names]
    for name in given:
        if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
            raise ValueError(f"not a file name: {name!r}")
    if len(set(given)) != len(given):
        raise ValueError("a name is given twice")
    return sorted(given, reverse=True)


class _Level:
    """A folder on the way down: its own name, which folder it is, and what is still to be done."""

    __slots__ = ("name", "names", "status")

    def __init__(self, name: bytes, status: os.stat_result, names: list[bytes]) -> None:
        self.name = name
        self.status = status
        self.names = names


def _parts(folder: str, names: list[bytes]) -> Iterator[bytes]:
    """The same in parts of any length up to PIECE_BYTES."""
    entries = len(names)
    at = os.open(folder, _FOLDER)
    levels = [_Level(b"", os.fstat(at), names)]
    before, between = words(b"entry", b"(", b"name"), words(b"node", b"(", b"type")
    try:
        yield words(MAGIC, b"(", b"type", b"directory")
        while levels:
            level = levels[-1]
            if not level.names:
                levels.pop()
                yield word(b")")
                if levels:
                    at = _up(at, levels)
                    yield word(b")")
                continue
            name = level.names.pop()
            yield before + word(name) + between
            try:
                status = os.stat(name, dir_fd=at, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    at = _down(at, name, status)
                    below = _listed(at, MAX_ENTRIES - entries)
                    entries += len(below)
                    levels.append(_Level(name, status, below))
                    yield word(b"directory")
                else:
                    yield from _leaf(at, name, status)
                    yield words(b")", b")")
            except _Unfit as error:
                raise NarError(_path(levels, name), str(error)) from None
            except OSError as error:
                if error.errno not in _OF_THE_TREE:
                    raise
                raise NarError(_path(levels, name), os.strerror(error.errno)) from error
    finally:
        os.close(at)


class _Unfit(Exception):
    """Becomes a NarError where the whole path is known."""


def _listed(folder: int, most: int) -> list[bytes]:
    """The names in a folder, last one first."""
    found: list[bytes] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(found) == most:
                raise _Unfit(f"with it there are more than {MAX_ENTRIES} files")
            found.append(os.fsencode(entry.name))
    found.sort(reverse=True)
    return found


def _leaf(folder: int, name: bytes, status: os.stat_result) -> Iterator[bytes]:
    if stat.S_ISREG(status.st_mode):
        yield from _file(folder, name, status)
    elif stat.S_ISLNK(status.st_mode):
        yield words(b"symlink", b"target", os.readlink(name, dir_fd=folder))
    else:
        raise _Unfit("neither a regular file, nor a folder, nor a symbolic link")


def _file(folder: int, name: bytes, status: os.stat_result) -> Iterator[bytes]:
    """A regular file's part of its node, with exactly the bytes that it had at first."""
    _allow(folder, name, status, stat.S_IRUSR)
    file = os.open(name, _FILE, dir_fd=folder)
    try:
        _same(os.fstat(file), status)
        if status.st_mode & stat.S_IXUSR:
            yield words(b"regular", b"executable", b"")
        else:
            yield word(b"regular")
        yield word(b"contents") + number(status.st_size)
        left = status.st_size
        while left:
            data = os.read(file, min(left, PIECE_BYTES))
            if not data:
                raise _Unfit(f"became shorter than {status.st_size} bytes while it was read")
            left -= len(data)
            yield data
        if os.read(file, 1):
            raise _Unfit(f"became longer than {status.st_size} bytes while it was read")
        yield bytes(-status.st_size % 8)
    finally:
        os.close(file)


def _down(folder: int, name: bytes, status: os.stat_result) -> int:
    """The folder `name` as seen from `folder`, which is closed when that succeeds."""
    _allow(folder, name, status, stat.S_IRUSR | stat.S_IXUSR)
    below = os.open(name, _FOLDER, dir_fd=folder)
    try:
        _same(os.fstat(below), status)
    except BaseException:
        os.close(below)
        raise
    os.close(folder)
    return below


def _up(folder: int, levels: list[_Level]) -> int:
    """The folder that `folder` was entered from, the last of `levels`; closes `folder`."""
    above = os.open("..", _FOLDER, dir_fd=folder)
    if not os.path.samestat(os.fstat(above), levels[-1].status):
        os.close(above)
        raise NarError(_path(levels), "a folder below it was moved away while it was read")
    os.close(folder)
    return above


def _allow(folder: int, name: bytes, status: os.stat_result, rights: int) -> None:
    """Give a file or folder of ours these rights where it lacks them."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & rights == rights:
        return
    held = os.open(name, _NAME_ONLY, dir_fd=folder)
    try:
        _same(os.fstat(held), status)
        # such a descriptor has no fchmod; this name leads to what it holds and nowhere else
        os.chmod(f"/proc/self/fd/{held}", mode | rights)
    finally:
        os.close(held)


def _same(now: os.stat_result, before: os.stat_result) -> None:
    if not os.path.samestat(now, before):
        raise _Unfit("was replaced while it was read")


def _path(levels: list[_Level], name: bytes | None = None) -> str:
    """Where in the tree, for a message: of a long path only the beginning and the end."""
    parts = [level.name for level in levels[1:]]
    if name is not None:
        parts.append(name)
    if len(parts) > _NAMED + 1:
        parts[_NAMED:-1] = [b"..."]
    return ascii(os.fsdecode(b"/".join(parts)))[1:-1]
