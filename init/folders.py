"""Trees that untrusted programs wrote, walked and removed through descriptors alone.

Such a tree may be deeper than any path is long, forbid its owner to read it, hold names that are
no text, and change meanwhile. So every step is relative to an open folder, no link is followed,
nothing is recursive, and the number of descriptors has a bound.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH101, PTH106, PTH108

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_ONLY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What opening says of a name that is no folder's, or nobody's any more.
_NO_FOLDER: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_TO_READ: Final = stat.S_IRUSR | stat.S_IXUSR
_TO_EMPTY: Final = stat.S_IRWXU
#: The mode that Nix gives each folder of an output: who finds it there changes nothing.
_NIXS: Final = 0o555
#: A walk keeps the folders of so many levels open, and finds back up to them whatever is moved.
_LEVELS_HELD: Final = 64


class UnreadableError(Exception):
    """A part of a tree can't be looked at: it is another user's, or moved about far below."""


def remove(path: str) -> None:
    """Remove a tree, or whatever else has this name; nothing where nobody has it.

    All goes that can. Raises OSError, the first one, for what can't. Others may remove the same
    tree at the same time; nobody may write to it.
    """
    try:
        top, _ = _opened(path, None, _TO_EMPTY)
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise
        if error.errno != errno.ENOENT:
            os.unlink(path)
        return
    removal = _Removal(top)
    try:
        removal.run()
    finally:
        os.close(top)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise (removal.trouble or error) from None


class _Removal:
    """One removal.

    A folder that is not empty is first moved up to the top, under a number, and waits for its
    turn there. So nothing has to be remembered however deep or wide the tree is, there is no way
    back up to be lost, and no mount point is ever entered: the kernel does not move one.
    """

    def __init__(self, top: int) -> None:
        self.trouble: OSError | None = None
        self._top = top
        self._device = os.fstat(top).st_dev
        self._prefix = os.urandom(8).hex()
        self._moved = 0

    def run(self) -> None:
        """Remove what is below the top."""
        self._empty(self._top)
        done = 0
        while done < self._moved:
            try:
                self._whole(f"{self._prefix}{done}")
            except OSError as error:
                self._not_done(error)
            done += 1

    def _whole(self, name: str) -> None:
        folder, _ = _opened(name, self._top, _TO_EMPTY)
        try:
            self._empty(folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=self._top)

    def _empty(self, folder: int) -> None:
        while self._listed(folder):
            pass  # a listing may leave something out while the folder shrinks

    def _listed(self, folder: int) -> bool:
        """Remove what one listing shows, or move it up; whether anything went."""
        went = False
        with os.scandir(folder) as entries:
            for entry in entries:
                if folder == self._top and entry.name.startswith(self._prefix):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        self._folder(folder, entry.name)
                    else:
                        os.unlink(entry.name, dir_fd=folder)
                    went = True
                except OSError as error:
                    self._not_done(error)
        return went

    def _folder(self, parent: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise
            self._move_up(parent, name)

    def _move_up(self, parent: int, name: str) -> None:
        there = f"{self._prefix}{self._moved}"
        try:
            os.rename(name, there, src_dir_fd=parent, dst_dir_fd=self._top)
        except PermissionError:
            if os.stat(name, dir_fd=parent, follow_symlinks=False).st_dev != self._device:
                raise
            # who moves a folder changes its `..`, and has to be allowed to write to it
            folder, _ = _opened(name, parent, _TO_EMPTY)
            os.close(folder)
            os.rename(name, there, src_dir_fd=parent, dst_dir_fd=self._top)
        self._moved += 1

    def _not_done(self, error: OSError) -> None:
        if error.errno != errno.ENOENT:
            self.trouble = self.trouble or error


@dataclass(slots=True)
class _Level:
    """A folder on a walk's way down. `was` is the mode that it gets back."""

    folder: int | None  # its descriptor; none while it is not held
    status: os.stat_result
    was: int | None
    below: list[str] = field(default_factory=list)

    def leave(self) -> None:
        if self.folder is not None:
            if self.was is not None:
                mode = stat.S_IMODE(os.fstat(self.folder).st_mode)
                # unless its owner has set another meanwhile, or Nix has taken it for an output
                if mode == self.was | _TO_READ and mode != _NIXS:
                    os.fchmod(self.folder, self.was)
            os.close(self.folder)
            self.folder = None


def walk(path: str) -> Iterator[os.stat_result]:
    """The status of a folder, and then of all that is below it, in no order; nothing of no folder.

    For trees that change meanwhile: what vanishes is left out. So is what lies on another file
    system. A folder of ours that can't be read can be while it is looked at. Raises
    UnreadableError.
    """
    levels: list[_Level] = []
    try:
        top = _entered(path, None)
        if top is None:
            return
        levels.append(top)
        yield top.status
        yield from _content(top)
        while levels:
            level = levels[-1]
            if level.below:
                lower = _entered(level.below.pop(), level.folder)
                if lower is not None:
                    if len(levels) > _LEVELS_HELD and level.folder is not None:
                        os.close(level.folder)
                        level.folder = None
                    levels.append(lower)
                    yield from _content(lower)
                continue
            if len(levels) > 1 and levels[-2].folder is None:
                levels[-2].folder = _above(level, levels[-2])
            levels.pop().leave()
    except OSError as error:
        raise UnreadableError(str(error)) from error
    finally:
        for level in levels:
            level.leave()


def _content(level: _Level) -> Iterator[os.stat_result]:
    """The status of what is in one folder; remembers its folders."""
    assert level.folder is not None  # noqa: S101 - it has just been entered
    with os.scandir(level.folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_dev != level.status.st_dev:
                continue
            if stat.S_ISDIR(status.st_mode):
                level.below.append(entry.name)
            yield status


def _entered(name: str, parent: int | None) -> _Level | None:
    """The folder of this name; None when there is none any more."""
    try:
        folder, was = _opened(name, parent, _TO_READ)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            return None
        raise
    return _Level(folder, os.fstat(folder), was)


def _above(level: _Level, upper: _Level) -> int:
    """The folder that a level was entered from, opened again."""
    assert level.folder is not None  # noqa: S101 - the lowest level always is held
    folder, _ = _opened("..", level.folder, _TO_READ)
    if os.path.samestat(os.fstat(folder), upper.status):
        return folder
    os.close(folder)
    raise UnreadableError("a folder was moved away while it was looked at")


def _opened(name: str, parent: int | None, rights: int) -> tuple[int, int | None]:
    """A folder that allows its owner these rights; if need be it is made to.

    Returns the descriptor, and the mode it had where that was changed. Raises OSError.
    """
    was = None
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        was = _allow(name, parent, rights)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        if mode & rights != rights and os.geteuid() != 0:
            os.fchmod(folder, mode | rights)
            was = mode if was is None else was
    except BaseException:
        os.close(folder)
        raise
    return folder, was


def _allow(name: str, parent: int | None, rights: int) -> int:
    """Give a folder of ours these rights, though it can't be opened; its mode before that."""
    folder = os.open(name, _NAME_ONLY, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        # such a descriptor has no fchmod; this name leads to what it holds and nowhere else
        os.chmod(f"/proc/self/fd/{folder}", mode | rights)
        return mode
    finally:
        os.close(folder)
