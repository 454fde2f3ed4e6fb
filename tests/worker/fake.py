"""A container that runs nothing: it answers a job as it was told to. Held to test_contract.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from init.frames import End, Frame, Job, Report, RunDone
from init.outcome import Outcome
from worker.errors import AttemptFailed
from worker.room import Room

_NUMBERS = count()
#: What init would say, and between it seconds of silence. `None`: it dies.
Script = Iterable[Frame | float | None]


def report(
    outcome: Outcome = Outcome.OK, stdout: bytes = b"", message: str | None = None
) -> Report:
    return Report(outcome, 0, None, 0.1, 0.1, 1, stdout=stdout, message=message)


def echo(job: Job) -> Script:
    """Every run gives back its input."""
    for number, case in enumerate(job.cases):
        yield RunDone(number, report(stdout=case.stdin))
    yield End()


class FakeContainer:
    def __init__(self, answer: Callable[[Job], Script]) -> None:
        self.name = f"fake-{next(_NUMBERS)}"
        self.uid = 5000
        self.scratch = Path("/nonexistent")
        self.room = Room(1 << 30, 1000)
        self.dead = asyncio.Event()
        #: The wall that was set, in bytes.
        self.held: int | None = None
        self._answer = answer
        self._script: list[Frame | float | None] = []

    async def send(self, job: Job) -> None:
        if self.dead.is_set():
            raise AttemptFailed(f"container {self.name} ended")
        self._script = list(self._answer(job))

    async def frames(self, patience_seconds: float):
        for word in self._script:
            if isinstance(word, float):
                await self._silence(word, patience_seconds)
            elif word is None:
                self.dead.set()
            if self.dead.is_set():
                raise AttemptFailed(f"container {self.name} ended with exit code 137")
            if word is not None and not isinstance(word, float):
                yield word
            if isinstance(word, End):
                return

    async def kill(self) -> None:
        self.dead.set()

    def hold(self, memory_bytes: int) -> None:
        self.held = memory_bytes

    async def _silence(self, seconds: float, patience_seconds: float) -> None:
        try:
            await asyncio.wait_for(self.dead.wait(), min(seconds, patience_seconds))
        except TimeoutError:
            if seconds > patience_seconds:
                raise AttemptFailed(f"init said nothing for {patience_seconds:g} s") from None


def maker(answer: Callable[[Job], Script], made: list[FakeContainer] | None = None):
    """What a pool makes its containers with."""

    @asynccontextmanager
    async def make():
        box = FakeContainer(answer)
        if made is not None:
            made.append(box)
        yield box
        box.dead.set()

    return make


class FakeStore:
    """A host's store that has everything, or, as the test says, lacks it."""

    def __init__(self, missing: str | None = None) -> None:
        self.missing = missing

    @asynccontextmanager
    async def held(self, environment):
        yield None if environment is None else self.missing

    @asynccontextmanager
    async def for_build(self, scratch: Path, uid: int, who: str):
        yield
