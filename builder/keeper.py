"""The builder's side of a keeper (`builder/daemon.py`): started, heard once, and always ended."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from builder.daemon import Daemon
from builder.errors import DaemonFailed
from init.cgroups import StageCgroup
from init.frames import DependenciesDone, Report
from init.wire import Decoder

_LOGGER: Final = logging.getLogger(__name__)
_STOP_SECONDS: Final = 20.0


@dataclass(slots=True)
class Keeper:
    """The keeper of a job's daemon; its report comes once."""

    name: str
    process: asyncio.subprocess.Process
    report: asyncio.Task[Report]

    async def stop(self) -> Report:
        """End the daemon and all its builds; how it ended. Raises DaemonFailed."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        self.process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await asyncio.shield(self.report)
        except TimeoutError as error:
            self.process.kill()
            raise DaemonFailed(self.name, f"not ended after {_STOP_SECONDS:g} s") from error


@asynccontextmanager
async def keeper(told: Daemon) -> AsyncIterator[Keeper]:
    """A running one; when the block is left, it and all that it kept are gone."""
    process = await asyncio.create_subprocess_exec(
        *told.argv(),
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")},  # and no password of ours
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    report = asyncio.create_task(_report(told.name, process))
    kept = Keeper(told.name, process, report)
    try:
        yield kept
    finally:
        if not report.done():
            # also on cancellation: the keeper needs a moment to kill the builds
            with suppress(DaemonFailed):
                await asyncio.shield(kept.stop())
        elif not report.cancelled():
            report.exception()
        await process.wait()
        await asyncio.shield(asyncio.to_thread(_emptied, told))


def _emptied(told: Daemon) -> None:
    """End what a keeper that could not end it has left in the job's cgroup. Blocks."""
    group = StageCgroup(
        told.delegated,
        told.name,
        memory_bytes=told.limits.memory_bytes,
        processes=told.limits.processes,
        mount=told.cgroups,
    )
    try:
        with ExitStack() as left:
            left.push(group)
    except FileNotFoundError:
        return  # the keeper has done all that
    except OSError as error:
        _LOGGER.error("job %s: its cgroup is not empty: %s", told.name, error)  # noqa: TRY400
    else:
        _LOGGER.warning("job %s: its keeper died; ended what it had kept", told.name)


async def _report(name: str, process: asyncio.subprocess.Process) -> Report:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    data = await process.stdout.read()
    for frame in Decoder().feed(data):
        if isinstance(frame, DependenciesDone):
            return frame.report
    raise DaemonFailed(name, "its keeper died without a report")
