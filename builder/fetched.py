"""What a worker host has fetched: a root for each path, whose time of change is its last use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from builder import nixstore
from builder.catalogue import Used


class Fetched:
    """The roots below `gcroots/sandstream-fetched` of the store that is mounted as /nix."""

    def __init__(self, store: Path) -> None:
        self._roots = store / "var/nix/gcroots/sandstream-fetched"
        self._database = store / "var/nix/db/db.sqlite"

    def make(self) -> None:
        self._roots.mkdir(parents=True, exist_ok=True)

    def keep(self, path: str) -> None:
        """Root a path, or note that it is used again."""
        root = self._roots / path.rpartition("/")[2]
        with suppress(FileExistsError):
            root.symlink_to(path)
        os.utime(root, follow_symlinks=False)

    def environments(self) -> Iterator[Used]:
        """Raises sqlite3.Error."""
        for root in self._roots.iterdir():
            path = str(root.readlink())
            closure = nixstore.closure_in(self._database, path)
            yield Used(root.name, root.lstat().st_mtime, closure)

    def settle(self) -> None:
        """Nothing: each path has its root and no more."""

    def remove(self, id_: str, *, unused_since: float) -> bool:
        """Let a path go, unless it was asked for after `unused_since`."""
        root = self._roots / id_
        if root.lstat().st_mtime > unused_since:
            return False
        root.unlink()
        return True
