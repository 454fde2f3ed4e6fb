"""A child process that is started again when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandstream import leftovers
from sandstream.state import State

Say = Callable[[str], None]

_STOP_SECONDS: Final = 15.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: Who lived this long is well: the next death is a new story.
_WELL_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Program:
    """A child: its name, its command line, its whole environment, where it runs."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    folder: Path


def pause(deaths: int) -> float:
    """Seconds before the start after the n-th death in a row."""
    doubled: float = _FIRST_PAUSE_SECONDS * 2.0 ** min(deaths - 1, 16)
    return min(doubled, _LONGEST_PAUSE_SECONDS)


class Deaths:
    """Of one process, in a row: who was well for a while before it died begins a new row."""

    def __init__(self) -> None:
        self._count = 0
        self._born = 0.0

    def born(self) -> None:
        self._born = time.monotonic()

    def died(self) -> float:
        """Seconds until it is started again."""
        well = time.monotonic() - self._born > _WELL_SECONDS
        self._count = 1 if well else self._count + 1
        return pause(self._count)


class Child:
    """The running process, whichever it is by now."""

    def __init__(self, program: Program, state: State, say: Say) -> None:
        self.program = program
        self.log: Path = state.logs / f"{program.name}.log"
        self._notes = state.running
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """None while it is down."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def spawn(self) -> asyncio.subprocess.Process:
        """In a session of its own: Ctrl-C reaches us alone, and we stop things in order.

        Raises OSError when there is no memory or disk left for it.
        """
        with self.log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *self.program.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.program.env,
                cwd=self.program.folder,
                start_new_session=True,
            )
        try:
            leftovers.note(self._notes, self.program.name, process.pid)
        except OSError:  # a next life would not know it
            process.kill()
            await process.wait()
            raise
        self._process = process
        return process

    async def keep(self) -> None:
        """Wait for its death, say so, start it again; for ever.

        A machine that has no memory or disk left can't start it either: then later.
        """
        deaths = Deaths()
        while True:
            deaths.born()
            try:
                process = self._process or await self.spawn()
                why = ended(await process.wait())
                self._process = None
                self.restarts += 1
            except OSError as error:
                why = f"could not be started: {error}"
            wait = deaths.died()
            self._say(f"{self.program.name} {why}; again in {wait:g} s ({self.log})")
            await asyncio.sleep(wait)

    async def stop(self) -> None:
        """Ask, wait, insist."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._say(f"{self.program.name} did not stop in {_STOP_SECONDS:g} s: killed")
                process.kill()
                await process.wait()
        leftovers.forget(self._notes, self.program.name)


def ended(status: int) -> str:
    """How a process ended, in words."""
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


@asynccontextmanager
async def supervised(program: Program, state: State, say: Say) -> AsyncIterator[Child]:
    """The child runs while the block does."""
    child = Child(program, state, say)
    await child.spawn()
    keeper = asyncio.create_task(child.keep())
    try:
        yield child
    finally:
        keeper.cancel()
        (fault,) = await asyncio.gather(keeper, return_exceptions=True)
        if isinstance(fault, Exception):  # a bug of ours; the child is stopped all the same
            say(f"{program.name} was kept no longer: {fault!r}")
        await child.stop()
