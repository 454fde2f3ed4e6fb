"""A folder for trees that nobody wants any more: put there at once, removed when there is time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path
from typing import Final

from init import folders

_LOGGER: Final = logging.getLogger(__name__)
_AGAIN_SECONDS: Final = 10.0


class Aside:
    """`folder` lies on the file system of what is put there. Several builders may share one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._given_up: set[str] = set()

    def put(self, tree: Path) -> None:
        """Free the tree's name; what can't be moved is removed in its place, or told and left."""
        there = self.folder / secrets.token_hex(8)
        try:
            # who moves a folder changes its `..`, and has to be allowed to write to it
            if not tree.is_symlink():
                tree.chmod(0o700)
            tree.rename(there)
        except OSError as error:
            _LOGGER.warning("%s can't be put aside: %s", tree, error)
            removed(tree)

    def empty(self) -> None:
        """Remove what is there; what can't be is told once. Blocks."""
        for tree in self.folder.iterdir() if self.folder.is_dir() else ():
            if tree.name not in self._given_up and not removed(tree):
                self._given_up.add(tree.name)

    async def serve(self) -> None:
        while True:
            await asyncio.to_thread(self.empty)
            await asyncio.sleep(_AGAIN_SECONDS)


def removed(*trees: Path) -> bool:
    """Remove trees; whether all of them went. What did not is told. Blocks."""
    went = True
    for tree in trees:
        try:
            folders.remove(str(tree))
        except OSError as error:
            _LOGGER.error("%s can't be removed: %s", tree, error)  # noqa: TRY400 - no bug of ours
            went = False
    return went
