"""The process that keeps a builder's build containers: started beside it, and ended with it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandstream.plans import BUILDER_UID, BuilderStack
from sandstream.services import INHERITED, PREFIX, own_to
from sandstream.state import CHECKOUT, State

_STOP_SECONDS: Final = 15.0
_TAIL_LINES: Final = 20
#: The builder's business alone: a pool speaks to no event log.
_NOT_TOLD: Final = f"{PREFIX}NATS_"


class PoolDiedError(Exception):
    """The pool ended by itself; its last words are at the end of the message."""

    def __init__(self, status: int | None, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        words = "\n".join(lines)
        super().__init__(f"the build pool ended with {status} ({log}); its last words:\n{words}")
        self.status = status


@dataclass(frozen=True, slots=True)
class BuildPool:
    """The running process; `log` is the file that it writes to."""

    log: Path
    _process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def died(self) -> PoolDiedError:
        """Wait until it ends; what to raise or say then."""
        return PoolDiedError(await self._process.wait(), self.log)


def environment(stack: BuilderStack, ours: Mapping[str, str]) -> dict[str, str]:
    """All that the pool is told. Pure."""
    told = {key: value for key, value in stack.environment.items() if not key.startswith(_NOT_TOLD)}
    return {
        **{key: ours[key] for key in INHERITED if key in ours},
        "PYTHONUNBUFFERED": "1",
        **own_to(State(stack.state.absolute())),
        **told,
        "SANDSTREAM_STATE": str(stack.state.absolute()),
        "SANDSTREAM_RUNNER_IMAGE": stack.runner_image,
    }


@asynccontextmanager
async def build_pool(stack: BuilderStack) -> AsyncIterator[BuildPool]:
    """It runs during the block, in a session of its own.

    Its stdin is a pipe of ours: however we end, it ends too, and removes its containers.
    """
    logs = stack.state.absolute() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"buildpool-{stack.name}.log"
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker.buildpool", str(stack.pool), str(BUILDER_UID),
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=out,
            env=environment(stack, os.environ),
            cwd=CHECKOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield BuildPool(log, process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
