"""Files in and out of a work folder, without ever following a link.

The tree that is read was written by an untrusted program, all of whose processes are dead: it
can hold any surprise, but it can't change under our hands. Every step is relative to an open
folder, so no path is resolved twice and a tree may be deeper than any path is long.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH123

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from init.frames import JobFile

    _Folder = tuple[str, os.stat_result]
    #: By name: files (empty) and the folders on the way to them.
    _Kept = dict[str, "_Kept"]

#: A submitted file lies no deeper than this. What a program leaves may.
MAX_DEPTH: Final = 200
#: So many names, of 255 bytes at most, fit into one call.
_MOST_COMPONENTS: Final = 15
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def parts(name: str) -> list[str]:
    """The components of a submitted file's name. Raises ValueError when it leads elsewhere."""
    components = name.split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in components):
        raise ValueError(f"not a file below the work folder: {name!r}")
    if len(components) > MAX_DEPTH:
        raise ValueError(f"a file {len(components)} folders deep")
    return components


def write(folder: str, files: Iterable[JobFile], at_ns: int | None = None) -> None:
    """Write submitted files; what begins with `#!` can be executed.

    `at_ns`: when they say that they were last changed, instead of now.
    """
    root = os.open(folder, _FOLDER)
    try:
        for file in files:
            *folders, name = parts(file.name)
            parent = os.dup(root)
            for component in folders:
                parent = _into(parent, component)
            try:
                mode = 0o755 if file.content.startswith(b"#!") else 0o644
                target = os.open(name, _CREATE, mode, dir_fd=parent)
            finally:
                os.close(parent)
            with open(target, "wb", buffering=0) as out:
                view = memoryview(file.content)
                while view:
                    view = view[out.write(view) :]
                if at_ns is not None:
                    os.utime(target, ns=(at_ns, at_ns))
    finally:
        os.close(root)


def _into(parent: int, component: str) -> int:
    """The folder `component`, made when missing; takes `parent` over and closes it."""
    try:
        with suppress(FileExistsError):
            os.mkdir(component, 0o755, dir_fd=parent)
        return os.open(component, _FOLDER, dir_fd=parent)
    finally:
        os.close(parent)


def copy(source: str, target: str, written: Iterable[str] = ()) -> None:
    """Copy the content of one folder into another.

    Modes, times, symbolic and hard links and holes stay as they are. Sockets and devices don't
    come along. The target is empty but for files that `write` made, whose names are `written`.
    Nothing of the source takes the place of one of these, or of a folder that leads to one.
    """
    kept: _Kept = {}
    for file in written:
        node = kept
        for component in parts(file):
            node = node.setdefault(component, {})
    from_fd, to_fd = os.open(source, _FOLDER), os.open(target, _FOLDER)
    try:
        _Copy(to_fd).tree(from_fd, kept)
    finally:
        os.close(from_fd)
        os.close(to_fd)


class _Copy:
    """One copying: knows its target's root, and where the files are that have several names."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._linked: dict[tuple[int, int], str] = {}

    def tree(self, source: int, kept: _Kept) -> None:
        """Copy all that is in `source`, however deep: two descriptors are open at any time."""
        source, target = os.dup(source), os.dup(self._root)
        try:
            above: list[tuple[Iterator[_Folder], os.stat_result | None, _Kept]] = []
            path: list[str] = []
            below, info = self._level(source, target, path, kept), None
            while True:
                folder = next(below, None)
                if folder is not None:
                    name, of_it = folder
                    above.append((below, info, kept))
                    kept = kept.get(name, {})
                    if not kept:
                        os.mkdir(name, 0o700, dir_fd=target)
                    source = _moved(source, name)
                    target = _moved(target, name)
                    path.append(name)
                    below, info = self._level(source, target, path, kept), of_it
                    continue
                if info is None:
                    return
                done = os.dup(target)
                try:
                    # up before the mode is set: it may forbid the way
                    source = _moved(source, "..")
                    target = _moved(target, "..")
                    if not kept:  # a mode could keep a run from reading what is in there
                        os.fchmod(done, stat.S_IMODE(info.st_mode))
                    os.utime(done, ns=(info.st_atime_ns, info.st_mtime_ns))
                finally:
                    os.close(done)
                path.pop()
                below, info, kept = above.pop()
        finally:
            os.close(source)
            os.close(target)

    def _level(self, source: int, target: int, path: list[str], kept: _Kept) -> Iterator[_Folder]:
        """Copy what is in one folder, and tell its folders; pass over what would replace `kept`."""
        folders = []
        with os.scandir(source) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(info.st_mode)
                if entry.name in kept and not (is_folder and kept[entry.name]):
                    continue
                if is_folder:
                    folders.append((entry.name, info))
                else:
                    self._entry(source, target, entry.name, info, path)
        return iter(folders)

    def _entry(
        self, source: int, target: int, name: str, info: os.stat_result, path: list[str]
    ) -> None:
        if stat.S_ISREG(info.st_mode):
            known = self._linked.get((info.st_dev, info.st_ino))
            if known is not None:
                os.link(known, name, src_dir_fd=self._root, dst_dir_fd=target)
                return
            # a name too long for one call is not remembered: such a file becomes two
            if info.st_nlink > 1 and len(path) < _MOST_COMPONENTS:
                self._linked[info.st_dev, info.st_ino] = "/".join((*path, name))
            _copy_file(source, target, name, info)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            times = (info.st_atime_ns, info.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISFIFO(info.st_mode):
            os.mkfifo(name, stat.S_IMODE(info.st_mode), dir_fd=target)


def has_grown_to(folder: str, size: int, since_ns: int) -> bool:
    """Whether a file below `folder` has exactly `size` bytes and was changed after `since_ns`.

    The time is that of the last change to the inode, which no program can set.
    """
    fd = os.open(folder, _FOLDER)
    try:
        waiting: list[list[str]] = [[]]
        while True:
            with os.scandir(fd) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        waiting[-1].append(entry.name)
                    elif (info.st_size, info.st_ctime_ns > since_ns) == (size, True):
                        return True
            while not waiting[-1]:
                waiting.pop()
                if not waiting:
                    return False
                fd = _moved(fd, "..")
            fd = _moved(fd, waiting[-1].pop())
            waiting.append([])
    finally:
        os.close(fd)


def _moved(fd: int, name: str) -> int:
    """The folder `name` as seen from `fd`, which is closed when that succeeds."""
    there = os.open(name, _FOLDER, dir_fd=fd)
    os.close(fd)
    return there


def _copy_file(source: int, target: int, name: str, info: os.stat_result) -> None:
    from_fd = os.open(name, _READ, dir_fd=source)
    to_fd = os.open(name, _CREATE, 0o600, dir_fd=target)
    try:
        os.ftruncate(to_fd, info.st_size)
        offset = 0
        while offset < info.st_size:
            try:
                start = os.lseek(from_fd, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole from here on
                    break
                raise
            end = os.lseek(from_fd, start, os.SEEK_HOLE)
            os.lseek(to_fd, start, os.SEEK_SET)
            offset = start
            while offset < end:
                offset += os.sendfile(to_fd, from_fd, offset, end - offset)
        os.fchmod(to_fd, stat.S_IMODE(info.st_mode))
        os.utime(to_fd, ns=(info.st_atime_ns, info.st_mtime_ns))
    finally:
        os.close(from_fd)
        os.close(to_fd)
