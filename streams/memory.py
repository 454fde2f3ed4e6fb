"""Memory is admitted: what builds and submissions of a host may hold together has a bound.

The ledger is two files beside the store (see `hoststore.py`), which builders and workers lock. A
reservation of n MiB holds locks on n bytes of the first one, which has as many as there are MiB to
give: so no more can be given than there is. Every lock is the kernel's, and goes with its holder,
however that ends; nothing is written, so nothing can be stale.

`memory`        a byte for each MiB of the budget, locked by who has reserved it.
`memory-queue`  who waits has locked the byte whose number is the time of its arrival; the earliest
                is the next, so a large reservation is not starved by small ones.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from init.limits import GIB, MIB
from streams.hoststore import InUse

_LOGGER: Final = logging.getLogger(__name__)
#: Left to the host: the services themselves, idle containers, the kernel.
_HOST_BYTES: Final = 2 * GIB
#: A budget below this holds nothing that is of use.
LEAST_BYTES: Final = 512 * MIB
#: How often what others hold is looked at again.
_AGAIN_SECONDS: Final = 0.05
_SLOW_SECONDS: Final = 5.0
#: `struct flock` of 64-bit Linux: type, whence, start, length, pid (0 for locks of open files).
_FLOCK: Final = struct.Struct("hhqqi4x")
BUDGET: Final = (
    "Memory that builds and submissions of this host may hold together (by default all but 2 GiB);"
    " more in a single limit is 422."
)


def budget_of_host() -> int:
    """Physical memory less 2 GiB."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(host - _HOST_BYTES, LEAST_BYTES)


class MemorySettings(BaseSettings):
    """How much memory there is to give."""

    model_config = SettingsConfigDict(
        env_prefix="SANDSTREAM_", extra="ignore", env_ignore_empty=True
    )

    memory_budget_bytes: int = Field(
        default_factory=budget_of_host, ge=LEAST_BYTES, description=BUDGET
    )


class Ledger:
    """The one of a store's host; `store` is the folder that is mounted as /nix."""

    def __init__(self, store: Path, budget_bytes: int) -> None:
        self._in_use = InUse(store)
        self._memory = self._in_use.folder / "memory"
        self._queue = self._in_use.folder / "memory-queue"
        self._units = budget_bytes // MIB

    def make(self) -> None:
        """The files, as the store's owner's: builders and root can lock them, nobody else."""
        self._in_use.make()
        for file in (self._memory, self._queue):
            _make(file, self._in_use.folder)

    @asynccontextmanager
    async def reserved(self, wanted_bytes: int) -> AsyncIterator[None]:
        """While the block runs, so much memory is nobody else's; waits its turn for it.

        Who wants more than there is gets all of it, and is alone.
        """
        units = min(-(-wanted_bytes // MIB), self._units)
        memory = os.open(self._memory, os.O_RDWR | os.O_CLOEXEC)
        try:
            async with self._turn(units):
                while not _take(memory, units, self._units):
                    await asyncio.sleep(_AGAIN_SECONDS)
            yield
        finally:
            os.close(memory)

    @asynccontextmanager
    async def _turn(self, units: int) -> AsyncIterator[None]:
        """In the block nobody who came later is served."""
        queue = os.open(self._queue, os.O_RDWR | os.O_CLOEXEC)
        try:
            came = _stand_in_line(queue)
            told = False
            while _locked_by_another(queue, 0, came) is not None:
                await asyncio.sleep(_AGAIN_SECONDS)
                if not told and time.monotonic_ns() - came > _SLOW_SECONDS * 1e9:
                    told = True
                    _LOGGER.warning("waiting for others to have their %d MiB first", units)
            yield
        finally:
            os.close(queue)


def _stand_in_line(queue: int) -> int:
    """The time of arrival, which nobody else has."""
    while not _lock(queue, came := time.monotonic_ns(), 1):
        pass
    return came


def _take(memory: int, units: int, total: int) -> bool:
    """Lock that many bytes of those below `total` that are free; all or none."""
    at, missing = 0, units
    while missing and at < total:
        length = min(missing, total - at)
        while (found := _locked_by_another(memory, at, length)) is not None and found[0] > at:
            length = found[0] - at  # what comes before it may hold an earlier one
        if found is not None:
            at = found[1]
        elif _lock(memory, at, length):
            at, missing = at + length, missing - length
    if missing:
        fcntl.fcntl(memory, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, 0, 0, 0))
    return not missing


def _locked_by_another(file: int, start: int, length: int) -> tuple[int, int] | None:
    """Begin and end of some lock of another open file in that range, if there is one."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, _, at, size, _ = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else (at, at + size)


def _lock(file: int, start: int, length: int) -> bool:
    """Whether the range is ours now."""
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def _make(file: Path, folder: Path) -> None:
    """It appears as the folder's owner's: root may be the first to come."""
    if file.exists():
        return
    owner = folder.stat()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    os.chown(fresh, owner.st_uid, owner.st_gid)
    try:
        os.link(fresh, file)
    except FileExistsError:  # another was first
        pass
    finally:
        fresh.unlink()
