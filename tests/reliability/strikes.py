"""What is struck, and how: by pid, each only while it is the process that we mean."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandstream import leftovers
from sandstream.builders import instance
from sandstream.services import own_to
from sandstream.stack import Stack
from sandstream.state import State
from tests.builder.boxes import used
from tests.killing import running_on
from tests.reliability.engine import Engine

SERVICES = ("api", "projector", "worker")
VICTIMS = (*SERVICES, "builder", "build pool", "nats", "dockerd", "build", "container", "init")
HOWS = ("kill", "stop")
#: Those that nobody starts again: the submission, or the build, begins anew.
_MORTAL = frozenset({"container", "init", "build"})
#: How long a build is waited for, when it is its container's turn.
_BUILD_SECONDS = 2.0
_BACK_SECONDS = 60.0
#: For one answer; it is frozen for no longer than a tenth of that.
_ENGINE_SECONDS = 60.0


@dataclass(frozen=True)
class Cell:
    """One field of the matrix."""

    victim: str
    how: str
    transition: str

    def __str__(self) -> str:
        return f"{self.how} {self.victim} at {self.transition}"


class Strikes:
    """The stack's processes as they are now."""

    def __init__(
        self, state: State, running: Stack, engine: Engine, *, frozen_seconds: float
    ) -> None:
        self._state = state
        self._running = running
        self._engine = engine
        self._frozen_seconds = frozen_seconds
        self.worker = own_to(state)["SANDSTREAM_WORKER_NAME"]

    async def strike(self, cell: Cell, container: str | None) -> bool:
        """Strike and wait until the victim is back; False when there was none at the moment.

        `container`: of the submission whose event it was, if it has one.
        """
        if cell.victim == "build":
            pid = await self._build(random.Random(str(cell)))
        else:
            pid = await self._pid(cell.victim, container)
        if pid is None:
            return False
        born = leftovers.birth(pid)
        if cell.how == "stop":
            return await self._freeze(cell.victim, pid, born)
        if not _signal(pid, born, signal.SIGKILL):
            return False
        if cell.victim not in _MORTAL:
            await self._until_back(cell.victim, pid)
        return True

    async def _freeze(self, victim: str, pid: int, born: str | None) -> bool:
        """As if the machine had not run it for longer than a lease."""
        if victim == "builder":
            name = f"{instance(self._state)}-builder"
            if not await docker("pause", name):
                return False
            await asyncio.sleep(self._frozen_seconds)
            # Its engine may be struck meanwhile; a container that it has ended is another's now.
            while not await docker("unpause", name) and await _is_paused(name):
                await asyncio.sleep(0.1)
            return True
        if not _signal(pid, born, signal.SIGSTOP):
            return False
        try:
            await asyncio.sleep(self._frozen_seconds)
        finally:
            _signal(pid, born, signal.SIGCONT)
        return True

    async def _until_back(self, victim: str, before: int) -> None:
        async with asyncio.timeout(_BACK_SECONDS):
            while await self._pid(victim, None) in {None, before}:
                await asyncio.sleep(0.05)
            if victim == "dockerd":
                await self._engine.answers()

    async def _pid(self, victim: str, container: str | None) -> int | None:
        match victim:
            case "nats":
                pid = _number(self._state.running / "nats")
                return pid if pid is not None and leftovers.birth(pid) else None
            case "dockerd":
                return self._engine.pid
            case "builder":
                return await container_pid(f"{instance(self._state)}-builder")
            case "build pool":
                return running_on("worker.buildpool", self._state.folder)
            case "container" | "init":
                pid = container and await container_pid(container)
                pid = pid or await container_pid(await self._any_container())
                return _child(pid) if victim == "init" else pid
            case _:
                return self._running.children[victim].pid

    async def _build(self, chance: random.Random) -> int | None:
        """A container in which something is built: its first process, or init, which works."""
        deadline = time.monotonic() + _BUILD_SECONDS
        while time.monotonic() < deadline:
            for job in used(self._state.folder):
                if pid := await container_pid(job.name):
                    return chance.choice((pid, _child(pid)))
            await asyncio.sleep(0.1)
        return None

    async def _any_container(self) -> str:
        """An idle one, or whoever's: this submission's is not there yet, or gone again."""
        names = await docker("ps", "--quiet", "--filter", f"label=sandstream.worker={self.worker}")
        return next(iter(names.split()), "")


def _signal(pid: int, born: str | None, number: int) -> bool:
    if born is None or leftovers.birth(pid) != born:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _number(file: Path) -> int | None:
    """The first number in it."""
    with suppress(OSError, IndexError, ValueError):
        return int(file.read_text().split()[0])
    return None


def _child(pid: int | None) -> int | None:
    return None if pid is None else _number(Path(f"/proc/{pid}/task/{pid}/children"))


async def _is_paused(name: str) -> bool:
    return (await docker("inspect", "--format", "{{.State.Paused}}", name)).strip() == "true"


async def container_pid(name: str) -> int | None:
    pid = (await docker("inspect", "--format", "{{.State.Pid}}", name)).strip()
    return int(pid) if pid.isdigit() and pid != "0" else None


async def docker(*words: str) -> str:
    """What it printed; nothing when it refused. An engine that never answers is a failure."""
    process = await asyncio.create_subprocess_exec(
        "docker", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _ENGINE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"docker {' '.join(words)}: no answer") from None
    return out.decode() if process.returncode == 0 else ""
