"""What one job owns on disk, and the clearing of what an earlier life of ours left.

Builds wrote these trees, so removing one may take long or fail. It takes place in a thread, and
what can't be removed is told in the log and stops nobody.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.aside import Aside, removed
from builder.shared import Shared
from init import nix
from streams import hoststore

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobFolders:
    """Of the trusted side's: `folder` takes the daemon's socket, `scratch` is the builds'."""

    name: str
    folder: Path
    scratch: Path

    @property
    def socket(self) -> Path:
        return self.folder / "socket"


@dataclass(frozen=True, slots=True)
class Places:
    """Where jobs live."""

    run: Path
    state: Path
    cgroups: Path

    @property
    def jobs(self) -> Path:
        return self.run / "jobs"

    @property
    def scratch(self) -> Path:
        return self.state / "scratch"

    @property
    def aside(self) -> Aside:
        """For scratch folders that an earlier life left."""
        return Aside(self.state / "removing")

    @asynccontextmanager
    async def job(self, name: str) -> AsyncIterator[JobFolders]:
        """The folders of one job; removed with whatever is in them.

        The job waits for that: who writes more than can be removed meanwhile fills the disk.
        """
        job = JobFolders(name, self.jobs / name, self.scratch / name)
        try:
            job.folder.mkdir(mode=0o700)
            job.scratch.mkdir(mode=0o700)
            yield job
        finally:
            # goes on when we are cancelled; what it has not reached by our end the next life will
            await asyncio.shield(asyncio.to_thread(removed, job.folder, job.scratch))

    def clear(self, cgroups: set[str]) -> None:
        """Make the folders, and put out of the way what a life of ours that was killed left."""
        aside = self.aside
        for folder in (self.jobs, self.scratch, aside.folder):
            folder.mkdir(parents=True, exist_ok=True)
        removed(*self.jobs.iterdir())  # sockets: no build sees this folder
        for left in self.scratch.iterdir():
            _LOGGER.warning("removing %s, which an earlier builder left", left)
            aside.put(left)
        for name in cgroups:
            for left in sorted((self.cgroups / name).glob("*/"), reverse=True):
                try:
                    left.rmdir()
                except OSError as error:
                    _LOGGER.warning("cgroup %s, which an earlier builder left: %s", left, error)


def put_roots_aside(shared: Shared, store: Path, aside: Aside) -> bool:
    """Put away the roots of builds that were killed; False when a builder of this store has a job.

    Nix would, but not before it builds the very same derivation again. Blocks.
    """
    with shared.no_job() as nobody:
        if nobody:
            for left in (store / "store").glob("*.drv.chroot"):
                if nix.is_root_of_a_build(str(left)) or not _valid(store, left):
                    aside.put(left)
    return nobody


def _valid(store: Path, path: Path) -> bool:
    """Whether it is an output that is called so. Of a build whose derivation is gone it is none."""
    try:
        return hoststore.valid(store, f"{nix.STORE}/{path.name}")
    except sqlite3.Error as error:
        _LOGGER.warning("whether %s is valid can't be told: %s", path.name, error)
        return True
