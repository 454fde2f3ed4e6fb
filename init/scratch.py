"""The writable space of one stage: a tmpfs of exactly its size, gone when the stage is.

So the disk limit is the kernel's, covers inodes too, and nothing that a test case wrote can be
left for the next: there is nothing to clean.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH102, PTH106, PTH116

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from init import namespaces

if TYPE_CHECKING:
    from types import TracebackType

_PAGE: Final = 4096
#: One file for each KiB of space: enough for trees of tiny files, and no free inode flood.
_BYTES_PER_INODE: Final = 1024
_LEAST_INODES: Final = 1024
FOLDERS: Final = ("work", "home", "tmp", "shm")


def _inodes(size_bytes: int) -> int:
    return max(size_bytes // _BYTES_PER_INODE, _LEAST_INODES)


class Scratch:
    """A mounted tmpfs with the folders of a stage in it."""

    def __init__(self, path: str, size_bytes: int, more_inodes: int = 0) -> None:
        self.path = path
        self._size_bytes = size_bytes
        self._more_inodes = more_inodes

    def __enter__(self) -> Self:
        os.mkdir(self.path, 0o700)
        self._mount(self._size_bytes, _inodes(self._size_bytes) + self._more_inodes)
        for name in FOLDERS:
            os.mkdir(self.folder(name), 0o700)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        namespaces.unmount(self.path)
        os.rmdir(self.path)

    def folder(self, name: str) -> str:
        return f"{self.path}/{name}"

    def allow(self, size_bytes: int) -> None:
        """Let `size_bytes` more than what is there now be written, and inodes in proportion."""
        used_bytes, used_inodes = self.used()
        self._mount(used_bytes + size_bytes, used_inodes + _inodes(size_bytes), remount=True)

    def _mount(self, size_bytes: int, inodes: int, *, remount: bool = False) -> None:
        # size=0 would mean no limit
        options = f"size={max(size_bytes, _PAGE)},nr_inodes={inodes},mode=0700"
        namespaces.mount("tmpfs", self.path, options, remount=remount)

    def is_full(self) -> bool:
        """Whether a write or a new file would be refused now."""
        space = os.statvfs(self.path)
        return space.f_bfree == 0 or space.f_ffree == 0

    def free(self) -> int:
        """Bytes until a write is refused; fewer where the files run out first."""
        space = os.statvfs(self.path)
        return min(space.f_bfree * space.f_frsize, space.f_ffree * _BYTES_PER_INODE)

    def changed_ns(self) -> int:
        """When it was made, for who asks at once."""
        return os.stat(self.path).st_mtime_ns

    def used(self) -> tuple[int, int]:
        """Bytes and inodes in use."""
        space = os.statvfs(self.path)
        return (space.f_blocks - space.f_bfree) * space.f_frsize, space.f_files - space.f_ffree
