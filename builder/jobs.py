"""What one job owns on disk, and the clearing of what an earlier life of ours left."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobFolders:
    """`folder` is shared with the evaluator and takes the socket; `scratch` is the builds'."""

    name: str
    folder: Path
    scratch: Path

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def proxy(self) -> Path:
        """The socket of the job's proxy, which only we may use."""
        return self.folder / "proxy"


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

    @contextmanager
    def job(self, name: str) -> Iterator[JobFolders]:
        """The folders of one job; removed with whatever is in them."""
        job = JobFolders(name, self.jobs / name, self.scratch / name)
        try:
            job.folder.mkdir(mode=0o755)
            job.scratch.mkdir(mode=0o700)
            yield job
        finally:
            remove(job.folder)
            remove(job.scratch)

    def clear(self, cgroups: set[str]) -> None:
        """Make the folders and remove what a life of ours that was killed has left."""
        for folder in (self.jobs, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.iterdir():
                _LOGGER.warning("removing %s, which an earlier builder left", left)
                remove(left)
        for name in cgroups:
            for left in sorted((self.cgroups / name).glob("*/"), reverse=True):
                try:
                    left.rmdir()
                except OSError as error:
                    _LOGGER.warning("cgroup %s, which an earlier builder left: %s", left, error)


def remove_roots(store: Path) -> None:
    """Remove the roots of builds that were killed; only while no build runs.

    Nix would, but not before it builds the very same derivation again.
    """
    for left in (store / "store").glob("*.drv.chroot"):
        remove(left)


def remove(folder: Path) -> None:
    """Remove a tree that builds wrote: they may have taken the right to write from folders."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for path, folders, _ in os.walk(folder):
        for below in (Path(path, name) for name in folders):
            if not below.is_symlink():
                below.chmod(0o700)
    shutil.rmtree(folder)
