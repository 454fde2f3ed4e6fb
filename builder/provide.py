"""The trusted side of a build: adds to the shared store what every submission may rely on.

Two kinds of paths, and no third: outputs of the channel's own derivations, which set-up recorded
without any user's code, and what a trusted key has signed. A job names what it would build or
fetch; the names are looked up, and what they stand for comes from us: our derivations, under the
operator's limits, over trusted inputs alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from builder import nixstore
from builder.daemon import Daemon
from builder.errors import BuilderError, DaemonFailed
from builder.jobs import JobFolders, Places
from builder.keeper import Keeper, keeper
from init import nix
from init.frames import Delegated, Planned
from init.limits import MIB, StageLimits
from init.outcome import Outcome

_LOGGER: Final = logging.getLogger(__name__)
_READY_SECONDS: Final = 20.0
#: Their names go into one argument, which the kernel bounds at 128 KiB.
_FETCHED_AT_ONCE: Final = 400
#: With less than this a build may have met a full disk and gone on.
_LEAST_FREE_BYTES: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the trusted side works with.

    `derivations` are the channel's own, by .drv path. `config` are Nix's settings of a fetch;
    empty: there are no caches. `limits` are the operator's.
    """

    places: Places
    store: Path
    delegated: Delegated
    derivations: frozenset[str]
    limits: StageLimits
    config: str = ""


class Provider:
    """Each derivation is realised once, however many jobs wait for it."""

    def __init__(self, made_with: Trusted) -> None:
        self._with = made_with
        self._database = made_with.store / "var/nix/db/db.sqlite"
        self._realised: dict[str, asyncio.Task[None]] = {}
        #: The same by the output that comes of it.
        self._making: dict[str, asyncio.Task[None]] = {}
        self._number = 0

    async def provide(self, planned: Planned) -> bytes:
        """Add what is trusted of a job's plan; what was added, as `nix-store --dump-db` prints it.

        What a cache does not have after all is built by the job, for itself. Raises StoreFailed,
        DaemonFailed: our own channel can't be built, which is never the shell's fault.
        """
        ours = [path for path in planned.derivations if path in self._with.derivations]
        outputs = await asyncio.to_thread(nixstore.outputs_of, self._database, ours)
        lacking = {
            drv: [path for path, _ in paths]
            for drv, paths in outputs.items()
            if not all(valid for _, valid in paths)
        }
        if lacking:
            await self._realise(lacking)
        # what a job names is data: no environment is anybody's to ask for
        signed = [path for path in planned.fetched if _may_be_fetched(path)]
        if self._with.config:
            for start in range(0, len(signed), _FETCHED_AT_ONCE):
                await self._fetch(signed[start : start + _FETCHED_AT_ONCE])
        paths = [path for found in outputs.values() for path, _ in found]
        return await asyncio.to_thread(nixstore.registration, self._database, [*paths, *signed])

    async def settled(self, paths: Iterable[str]) -> None:
        """Wait while one of these comes from a job of ours that is not yet over, and looked at."""
        if tasks := {self._making[path] for path in paths if path in self._making}:
            await asyncio.wait(tasks)

    async def _realise(self, lacking: Mapping[str, list[str]]) -> None:
        """Those that nobody realises yet, as one job; then wait for all of them."""
        fresh = sorted(drv for drv in lacking if drv not in self._realised)
        if fresh:
            task = asyncio.create_task(self._build(fresh))
            outputs = [path for drv in fresh for path in lacking[drv]]
            self._realised |= dict.fromkeys(fresh, task)
            self._making |= dict.fromkeys(outputs, task)
            task.add_done_callback(partial(self._forget, fresh, outputs))
        tasks = {self._realised[drv] for drv in lacking if drv in self._realised}
        # shared: it goes on when one of those who wait is gone
        await asyncio.gather(*(asyncio.shield(task) for task in tasks))

    def _forget(
        self, derivations: Iterable[str], outputs: Iterable[str], task: asyncio.Task[None]
    ) -> None:
        for path in derivations:
            self._realised.pop(path, None)
        for path in outputs:
            self._making.pop(path, None)
        if not task.cancelled():
            task.exception()  # who waits has seen it

    async def close(self) -> None:
        """End what is being built."""
        tasks = set(self._realised.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _build(self, derivations: list[str]) -> None:
        """Build them, and look whether the job lacked anything, however it ended."""
        began, since = time.monotonic(), int(time.time())
        failed: BuilderError | None = None
        async with self._job() as job, keeper(self._daemon(job)) as kept:
            await _ready(kept, job)
            try:
                await self._client(job, kept, derivations)
            except BuilderError as error:
                failed = error  # what it registered before that stays, and is looked at
            report = await kept.stop()
        starved = report.starved or await asyncio.to_thread(_full, self._with.store)
        if starved:
            # it may have gone on without what it was refused, and everybody would have that
            await self._remove_made(derivations, since)
            raise DaemonFailed(job.name, f"it met {starved}: what it built was removed")
        if failed is not None:
            raise failed
        _LOGGER.info(
            "built %d of the channel's derivations in %.2f s", len(derivations),
            time.monotonic() - began,
        )  # fmt: skip

    async def _client(self, job: JobFolders, kept: Keeper, derivations: list[str]) -> None:
        """Ask the job's daemon to build them. Raises StoreFailed, DaemonFailed."""
        building = asyncio.create_task(
            nixstore.run(
                nixstore.realise_argv(derivations, keep_going=False),
                seconds=self._with.limits.wall_seconds,
                environment={"NIX_REMOTE": f"unix://{job.socket}"},
            )
        )
        try:
            await asyncio.wait({building, kept.report}, return_when=asyncio.FIRST_COMPLETED)
            if not building.done():
                report = await kept.report
                words = f"{report.outcome}: {report.message}; the operator's limits are too low"
                raise DaemonFailed(job.name, words)
            await building
        finally:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)

    async def _remove_made(self, derivations: list[str], since: int) -> None:
        outputs = await asyncio.to_thread(nixstore.outputs_of, self._database, derivations)
        paths = [path for found in outputs.values() for path, _ in found]
        valid = await asyncio.to_thread(nixstore.valid_since, self._database, paths)
        if made := [path for path, at in valid.items() if at >= since]:
            await nixstore.run(nixstore.delete_argv(made))

    async def _fetch(self, paths: list[str]) -> None:
        """A fetch that fails is a cache miss: what is missing is built by the job."""
        async with self._job() as job:
            fetch = replace(self._daemon(job), paths=tuple(paths), config=self._with.config)
            async with keeper(fetch) as kept:
                report = await kept.report
        if report.outcome is not Outcome.OK:
            words = report.stderr.decode(errors="replace")[-1000:].strip()
            _LOGGER.warning("not all could be fetched: %s: %s", report.outcome, words)

    def _job(self) -> AbstractAsyncContextManager[JobFolders]:
        self._number += 1
        return self._with.places.job(f"trusted-{self._number}")

    def _daemon(self, job: JobFolders) -> Daemon:
        return Daemon(
            name=job.name,
            folder=str(job.folder),
            scratch=str(job.scratch),
            store=str(self._with.store),
            cgroups=str(self._with.places.cgroups),
            delegated=self._with.delegated,
            limits=self._with.limits,
        )


async def _ready(kept: Keeper, job: JobFolders) -> None:
    """Wait until the daemon listens. Raises DaemonFailed."""
    deadline = time.monotonic() + _READY_SECONDS
    while not job.socket.exists():
        if kept.report.done():
            report = await kept.report
            words = report.stderr.decode(errors="replace")[-1000:].strip()
            raise DaemonFailed(job.name, f"{report.outcome}: {report.message}: {words}")
        if time.monotonic() > deadline:
            raise DaemonFailed(job.name, f"no socket after {_READY_SECONDS:g} s")
        await asyncio.sleep(0.005)


def _full(store: Path) -> str:
    """What a build met that wrote to a file system with nothing left; empty: it has room."""
    free = os.statvfs(store)
    if free.f_bavail * free.f_frsize >= _LEAST_FREE_BYTES and free.f_favail:
        return ""
    return "a full disk"


def _may_be_fetched(path: str) -> bool:
    return nix.is_store_path(path) and not nix.is_environment(path.split("/")[3])
