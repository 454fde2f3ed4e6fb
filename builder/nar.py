"""The trusted side's check of a NAR that an untrusted job sent, byte by byte as it arrives.

Accepts exactly what Nix itself would write for a folder of the names that were asked for, and
only what Nix can take back into its store. So a fault that Nix reports later is ours, never the
job's. Knows no file system and no process; holds one step's bytes and one path.

    archive  = "nix-archive-1" node
    node     = "(" "type" kind ")"
    kind     = "regular" ["executable" ""] "contents" bytes
             | "symlink" "target" bytes
             | "directory" {"entry" "(" "name" bytes "node" node ")"}

Each string is its length as 64 bits, its bytes, and zeros up to a multiple of eight. Names are
bytes, as in Nix: they need not be UTF-8.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from init import nar

#: What the kernel and Nix take: bytes of a name, and of a link's target.
_MOST_NAME: Final = 255
_MOST_TARGET: Final = 4095
#: Nix names each file by its whole path, of 4,095 bytes at most; a store path has up to 222.
_MOST_PATH: Final = 3800
_NO_SUCH_LENGTH: Final = 1 << 63

_BEGIN: Final = nar.words(nar.MAGIC, b"(", b"type", b"directory")
_ENTRY: Final = nar.words(b"entry", b"(", b"name")
_END: Final = nar.word(b")")
_ENDS: Final = nar.words(b")", b")")
_FOLDER: Final = nar.words(b"node", b"(", b"type", b"directory")
_FILE: Final = nar.words(b"node", b"(", b"type", b"regular", b"contents")
_PROGRAM: Final = nar.words(b"node", b"(", b"type", b"regular", b"executable", b"", b"contents")
_LINK: Final = nar.words(b"node", b"(", b"type", b"symlink", b"target")


class NarRefused(Exception):
    """Not a NAR that may enter the store. `too_large`: it is above the byte limit."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class Nar:
    """A NAR that was checked: its digest, its bytes, and those of the largest file in it."""

    sha256: bytes
    size: int
    largest_file: int


class _Short(Exception):
    """More bytes have to come before this step can be done."""


class NarChecker:
    """One NAR. `max_depth` counts levels of the tree, the top's included; Nix takes 64.

    A step takes its bytes from what was fed. It changes nothing before it has all of them: when
    they don't suffice it is tried again, from its beginning.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        max_bytes: int,
        max_entries: int = nar.MAX_ENTRIES,
        max_depth: int = 64,
    ) -> None:
        self._missing = {os.fsencode(name) for name in names}
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._max_depth = max_depth
        self._digest = hashlib.sha256()
        self._size = 0
        self._largest_file = 0
        self._entries = 0
        self._path: list[bytes] = []  # the folders that are open below the top
        self._path_bytes = 0  # with a slash after each
        self._latest = b""  # the name of the open folder's latest entry
        self._content_left = 0
        self._padding = b""
        self._before = 0  # so many bytes came before these
        self._data = b""
        self._at = 0
        self._step: Callable[[], None] = self._begin
        self._refused: NarRefused | None = None

    def feed(self, data: bytes) -> None:
        """Check the next bytes. Raises NarRefused, from then on at every call."""
        if self._refused is not None:
            raise self._refused
        try:
            self._feed(data)
        except NarRefused as error:
            self._refused = error
            raise

    def end(self) -> Nar:
        """Everything was fed. Raises NarRefused unless that was one whole NAR."""
        if self._refused is not None:
            raise self._refused
        if self._step != self._nothing:
            raise NarRefused(f"cut short after {self._size} bytes")
        return Nar(self._digest.digest(), self._size, self._largest_file)

    def _feed(self, data: bytes) -> None:
        allowed = data[: self._max_bytes - self._size]
        self._size += len(allowed)
        self._digest.update(allowed)
        self._data += allowed
        done = 0
        try:
            while self._at < len(self._data):
                self._step()
                done = self._at
        except _Short:
            pass
        self._before += done
        self._data, self._at = self._data[done:], 0
        if len(data) > len(allowed):
            raise self._too_large()

    def _too_large(self) -> NarRefused:
        return NarRefused(f"above the limit of {self._max_bytes} bytes", too_large=True)

    def _begin(self) -> None:
        self._one_of(_BEGIN)
        self._step = self._in_folder

    def _in_folder(self) -> None:
        end = _ENDS if self._path else _END
        if self._one_of(_ENTRY, end) == _ENTRY:
            self._entry()
        elif self._path:
            self._latest = self._path.pop()
            self._path_bytes -= len(self._latest) + 1
        elif self._missing:
            raise NarRefused(f"{len(self._missing)} missing, {_shown(min(self._missing))} first")
        else:
            self._step = self._nothing

    def _entry(self) -> None:
        name = self._word(_MOST_NAME, "name")
        self._check(name)
        kind = self._one_of(_FOLDER, _FILE, _PROGRAM, _LINK)
        size = 0
        if kind == _LINK:
            target = self._word(_MOST_TARGET, "link target")
            if not target or b"\0" in target:
                raise NarRefused(f"not a link's target: {_shown(target)}")
            self._one_of(_ENDS)
        elif kind != _FOLDER:
            size = self._file_size()
            self._step = self._content
        self._content_left = size
        self._padding = bytes(-size % 8)
        self._largest_file = max(self._largest_file, size)
        self._entries += 1
        self._latest = name
        if not self._path:
            self._missing.remove(name)
        if kind == _FOLDER:
            self._path.append(name)
            self._path_bytes += len(name) + 1
            self._latest = b""

    def _check(self, name: bytes) -> None:
        """Whether an entry of the open folder may be called so, and be one more."""
        if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
            raise NarRefused(f"not a file name: {_shown(name)}")
        if name <= self._latest:
            raise NarRefused(f"{_shown(name)} after {_shown(self._latest)}: not sorted, or twice")
        if not self._path and name not in self._missing:
            raise NarRefused(f"{_shown(name)} was not asked for")
        if self._path_bytes + len(name) > _MOST_PATH:
            raise NarRefused(f"a path of more than {_MOST_PATH} bytes")
        if len(self._path) + 2 > self._max_depth:
            raise NarRefused(f"more than {self._max_depth} levels deep")
        if self._entries >= self._max_entries:
            raise NarRefused(f"more than {self._max_entries} files")

    def _file_size(self) -> int:
        size = int.from_bytes(self._bytes(8), "little")
        if size >= _NO_SUCH_LENGTH:
            raise NarRefused(f"a file of {size} bytes")
        if size > self._max_bytes:
            raise self._too_large()
        return size

    def _content(self) -> None:
        taken = min(self._content_left, len(self._data) - self._at)
        self._at += taken
        self._content_left -= taken
        if not self._content_left:
            self._step = self._end_of_file

    def _end_of_file(self) -> None:
        self._one_of(self._padding + _ENDS)
        self._step = self._in_folder

    def _nothing(self) -> None:
        raise NarRefused("more follows the archive")

    def _one_of(self, *possible: bytes) -> bytes:
        """The one of these that comes next. None of them begins with another."""
        for one in possible:
            if self._data.startswith(one, self._at):
                self._at += len(one)
                return one
        for one in possible:
            if one.startswith(self._data[self._at : self._at + len(one)]):
                raise _Short
        raise NarRefused(f"not the syntax of a NAR from byte {self._before + self._at} on")

    def _word(self, most: int, what: str) -> bytes:
        length = int.from_bytes(self._bytes(8), "little")
        if length > most:
            raise NarRefused(f"a {what} of {length} bytes")
        value = self._bytes(length)
        if any(self._bytes(-length % 8)):
            raise NarRefused(f"padding that is not zero after {_shown(value)}")
        return value

    def _bytes(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) < count:
            raise _Short
        self._at += count
        return found


def _shown(value: bytes) -> str:
    return ascii(os.fsdecode(value))
