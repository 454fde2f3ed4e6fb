"""The kill matrix: every part struck at every transition of a submission, under load."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from sandstream.stack import Stack
from sandstream.state import State
from streams.connection import connect
from streams.events import parse
from streams.log import EventLog
from tests.e2e.conftest import system
from tests.reliability import findings
from tests.reliability.engine import Engine
from tests.reliability.load import Load, Sent
from tests.reliability.strikes import HOWS, VICTIMS, Cell, Strikes, docker

LEASE_SECONDS = 2.0
TRANSITIONS = ("submitted", "deps-queued", "deps-built", "started", "compiled", "ran", "finished")
#: Settings under which a storm can be told from a fault: a dead holder is missed after 2 s, and
#: a submission that is struck again and again is not given up.
SETTINGS = {"SANDSTREAM_LEASE_SECONDS": f"{LEASE_SECONDS:g}", "SANDSTREAM_ATTEMPTS": "50"}
_LANES = 5
_TRIGGER_SECONDS = 15.0
_TRIES = 5


def every_cell() -> list[Cell]:
    return [Cell(v, how, at) for v in VICTIMS for how in HOWS for at in TRANSITIONS]


def endless(seed: int) -> Iterator[Cell]:
    """The whole matrix again and again, each time in another order."""
    for number in count():
        yield from shuffled(seed + number)


def shuffled(seed: int) -> list[Cell]:
    cells = every_cell()
    random.Random(seed).shuffle(cells)
    return cells


class Hub:
    """Who waits for the next event of a kind is handed (submission, its container)."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self.containers: dict[str, str] = {}

    async def hear(self, message) -> None:
        _, _, id_, event, *_ = message.subject.split(".")
        if event == "started":
            self.containers[id_] = parse(message.data, 1).container
        for future in self._waiting.pop(event, []):
            if not future.done():
                future.set_result(id_)

    async def next(self, event: str) -> str | None:
        """The container of the next submission with this event."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(event, []).append(future)
        with suppress(TimeoutError):
            return self.containers.get(await asyncio.wait_for(future, _TRIGGER_SECONDS))
        return None


@dataclass
class Report:
    """What a storm was, and what was wrong after it."""

    seed: int
    struck: list[Cell] = field(default_factory=list)
    missed: list[Cell] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    refusals: int = 0
    events: int = 0
    attempts: int = 0
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        took = sorted(one.seconds for one in self.sent)
        return [
            f"seed {self.seed}: {len(self.struck)} strikes in {self.seconds:.0f} s",
            f"{len(self.missed)} more found no victim",
            f"{len(self.sent)} submissions, {self.events} events, {self.attempts} attempts",
            f"{self.refusals} calls were tried again",
            f"from POST to the end: median {median(took):.1f} s, longest {took[-1]:.1f} s"
            if took
            else "nothing was sent",
            *(f"WRONG: {words}" for words in self.wrong),
        ]


@asynccontextmanager
async def hub(running: Stack) -> AsyncIterator[Hub]:
    made = Hub()
    async with connect(running.log.settings("auditor"), name="matrix") as client:
        await client.subscribe("live.submissions.>", cb=made.hear)
        await client.flush()
        yield made


async def storm(
    state: State,
    engine: Engine,
    cells: Iterable[Cell],
    seed: int,
    *,
    seconds: float | None = None,
    say=print,
) -> Report:
    """Strike each cell under load (for at most `seconds`), then let the system come to rest."""
    report = Report(seed)
    began = time.monotonic()
    seen: set[str] = set()
    async with system(state, report.said) as running:
        strikes = Strikes(state, running, engine, frozen_seconds=1.25 * LEASE_SECONDS)
        load = Load(running.url, random.Random(seed))
        async with hub(running) as heard, asyncio.TaskGroup() as group:
            loading = group.create_task(load.run())
            watching = group.create_task(_note(seen))
            try:
                until = None if seconds is None else began + seconds
                await _strike_all(Storm(cells, strikes, heard, report, until, say))
            finally:
                load.stop.set()
            await loading
            watching.cancel()
        report.sent, report.refusals = load.sent, load.refusals
        async with connect(running.log.settings("auditor"), name="findings") as client:
            log = EventLog(client)
            stories = await findings.all_ended(log, 120)
            report.events = sum(map(len, stories.values()))
            report.attempts = sum(e.event == "started" for s in stories.values() for e in s)
            report.wrong += findings.of_stories(stories, load.sent)
            report.wrong += findings.of_answers(stories, load.sent)
            report.wrong += await findings.of_read_model(client, log)
    report.wrong += findings.of_host(state, seen)
    report.wrong += await findings.of_engine(engine)
    report.seconds = time.monotonic() - began
    return report


@dataclass
class Storm:
    """What strikes, until when, and who is told."""

    cells: Iterable[Cell]
    strikes: Strikes
    heard: Hub
    report: Report
    until: float | None
    say: Callable[[str], None]


async def _strike_all(of: Storm) -> None:
    """A few strikes at a time, never two on one victim."""
    rest = iter(of.cells)
    busy = {victim: asyncio.Lock() for victim in VICTIMS}

    async def lane() -> None:
        for cell in rest:
            if of.until is not None and time.monotonic() > of.until:
                return
            async with busy[cell.victim]:
                for _ in range(_TRIES):
                    container = await of.heard.next(cell.transition)
                    if await of.strikes.strike(cell, container):
                        of.say(f"{time.strftime('%H:%M:%S')} {cell}")
                        of.report.struck.append(cell)
                        break
                else:
                    of.say(f"{time.strftime('%H:%M:%S')} no victim to {cell}")
                    of.report.missed.append(cell)

    async with asyncio.TaskGroup() as group:
        for _ in range(_LANES):
            group.create_task(lane())


async def _note(seen: set[str]) -> None:
    """The ids of all containers, so that their cgroups can be looked for at the end.

    The engine is the stack's alone: they are the worker's, the build pool's and the builders'.
    """
    argv = ("ps", "--all", "--no-trunc", "--quiet")
    while True:
        seen.update((await docker(*argv)).split())
        await asyncio.sleep(0.5)
