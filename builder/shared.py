"""What the builders of one store share: their folders, and who builds what.

All of it lies beside the store, below `var/sandstream`. That a store is in use at all is said in
the words of `streams/hoststore.py`, as workers say it too; here is what concerns builders alone.

`published/…`  what was copied to which cache (`builder/publish.py`).
`removing`  what killed builds left below the store; any builder removes it.
`leases/…`  who is to build an environment; others wait, and find it in the catalogue. Its build
            may still wait for a slot, so there is a second lock for the time of the build itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from builder.aside import Aside
from streams.hoststore import InUse, environments, locked, taken

#: What who has the lease of an environment does: it builds, or waits for its turn to.
Holder = Literal["builds", "waits"]


class Shared:
    """The places and locks of one store; `store` is the folder that is mounted as /nix."""

    def __init__(self, store: Path) -> None:
        self._in_use = InUse(store)
        folder = self._in_use.folder
        self.environments = environments(store)
        self.roots = store / "var/nix/gcroots/sandstream"
        self.published = folder / "published"
        self.aside = Aside(folder / "removing")
        self._leases = folder / "leases"
        self._collector = store / "var/nix/gc.lock"

    def make(self) -> None:
        self._in_use.make()
        for folder in (self.environments, self.roots, self._leases, self.aside.folder):
            folder.mkdir(parents=True, exist_ok=True)
        for lease in self._leases.iterdir():
            _unlink_unused(lease)

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """While the block runs nobody collects garbage in this store.

        A daemon lets any client of its start a collection, trusted or not (tried), and that would
        take what is built but not pinned yet: hence Nix's own lock too.
        """
        async with self._in_use.used(), locked(self._collector, fcntl.LOCK_SH):
            yield

    @asynccontextmanager
    async def unused(self, wait_seconds: float) -> AsyncIterator[bool]:
        """Whether nobody used the store within that time; if so, nobody does in the block."""
        async with self._in_use.unused(wait_seconds) as nobody:
            yield nobody

    @contextmanager
    def no_job(self) -> Iterator[bool]:
        """Whether no builder of this store has a job now, and none begins one in the block."""
        file = os.open(self._collector, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield taken(file, fcntl.LOCK_EX)
        finally:
            os.close(file)

    @asynccontextmanager
    async def lease(self, id_: str, waiting: Callable[[Holder], None]) -> AsyncIterator[None]:
        """Alone with this environment; while another is, `waiting` is told, often, what it does."""

        def look() -> None:
            waiting("builds" if self._is_built(id_) else "waits")

        async with locked(self._leases / id_, fcntl.LOCK_EX, look):
            yield

    @asynccontextmanager
    async def building(self, id_: str) -> AsyncIterator[None]:
        """Who has the lease builds in the block; all builders of this store see it."""
        async with locked(self._building(id_), fcntl.LOCK_EX):
            yield

    def _building(self, id_: str) -> Path:
        return self._leases / f"{id_}.building"

    def _is_built(self, id_: str) -> bool:
        try:
            file = os.open(self._building(id_), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not taken(file, fcntl.LOCK_SH)  # shared: who looks is no builder to another
        finally:
            os.close(file)


def _unlink_unused(lease: Path) -> None:
    """There is one for each environment that was ever built.

    Who waits for it just now may build the same as who makes it anew: that does no harm.
    """
    try:
        file = os.open(lease, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # another builder starts too
    try:
        if taken(file, fcntl.LOCK_EX):
            lease.unlink(missing_ok=True)
    finally:
        os.close(file)
