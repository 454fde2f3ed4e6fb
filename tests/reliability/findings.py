"""What must hold after any storm: read from the log itself, the read model, and the host."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sandstream.state import State
from streams.audit import Replay, held_against
from streams.events import TERMINAL, AnyEvent, Finished
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import read_all
from tests.e2e.conftest import containers
from tests.reliability.engine import Engine
from tests.reliability.load import Sent
from tests.reliability.strikes import docker


async def histories(log: EventLog) -> dict[str, list[AnyEvent]]:
    """Every event of every submission."""
    found: dict[str, list[AnyEvent]] = {}
    async for event in read_all(log):
        found.setdefault(event.submission_id, []).append(event)
    return found


async def all_ended(log: EventLog, seconds: float) -> dict[str, list[AnyEvent]]:
    """The log once every submission in it has ended, or as it is when the time is up."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await histories(log)
        ended = all(any(e.event in TERMINAL for e in events) for events in found.values())
        if ended or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.5)


def of_stories(stories: dict[str, list[AnyEvent]], sent: Iterable[Sent]) -> list[str]:
    """What is wrong in the log: an accepted submission lost, none or two ends, an event twice."""
    lost = [one.id for one in sent if one.id not in stories]
    wrong = [f"{id_} was accepted and is not in the log" for id_ in lost]
    for id_, events in stories.items():
        names = [event.event for event in events]
        ends = [name for name in names if name in TERMINAL]
        if len(ends) != 1 or names[-1] not in TERMINAL:
            wrong.append(f"{id_} has {len(ends)} ends: {' '.join(names)}")
        said = Counter((event.event, event.attempt, event.qualifier) for event in events)
        twice = [key for key, count in said.items() if count > 1]
        if twice:
            wrong.append(f"{id_} says twice {twice}: {' '.join(names)}")
        attempts = [event.attempt for event in events if event.event == "started"]
        if attempts != list(range(1, len(attempts) + 1)):
            wrong.append(f"{id_} has attempts {attempts}")
    return wrong


def of_answers(stories: dict[str, list[AnyEvent]], sent: Iterable[Sent]) -> list[str]:
    """A submission that did not come to what its program does, by the log or as its client saw."""
    wrong = []
    for one in sent:
        last = stories[one.id][-1] if one.id in stories else None
        recorded = last.verdict if isinstance(last, Finished) else last and last.event
        wrong += [
            f"{one.id} ({one.kind}) is {told}, expected {one.expected}"
            for told in {recorded, one.told or recorded} - {one.expected}
        ]
    return wrong


async def of_read_model(client, log: EventLog, seconds: float = 20.0) -> list[str]:
    """The read model once the projector has come to the end, held against the log."""
    model = ReadModel(client)
    last = await log.last_sequence()
    async with asyncio.timeout(seconds):
        while await (await model.live()).checkpoint() < last:
            await asyncio.sleep(0.1)
    generation = await model.live()
    replay = Replay()
    async for item in read_all(log):
        replay.add(item)
    verdict = await held_against(generation, replay.states.values(), last)
    wrong = [f"{id_} is behind in the read model" for id_ in verdict.behind]
    wrong += [f"{id_} differs in the read model" for id_ in verdict.differ]
    opened = (await generation.progress()).open
    if opened:
        wrong.append(f"the read model counts {opened} open submissions")
    return wrong


#: Where an engine makes a container's cgroup: version 1; version 2; the same by systemd.
GROUPS = ("*/docker/{}", "docker/{}", "system.slice/docker-{}.scope")


def of_host(
    state: State,
    ids: Iterable[str] = (),
    *,
    groups: Path = Path("/sys/fs/cgroup"),
    table: Path = Path("/proc/self/mounts"),
) -> list[str]:
    """What the stopped stack has left on this machine. `ids`: Docker's, of its containers."""
    mounts = [line.split()[1] for line in table.read_text().splitlines()]
    return [
        *(f"container {name}" for name in containers(state)),
        *(f"mount {mount}" for mount in mounts if mount.startswith(str(state.folder))),
        *(f"scratch {path}" for path in state.folder.glob("worker/*/scratch/*")),
        *(f"job {path}" for path in (state.folder / "run" / "builder" / "jobs").glob("*")),
        *(
            f"cgroup {path}"
            for id_ in ids
            for where in GROUPS
            for path in groups.glob(where.format(id_))
        ),
        *(f"noted process {path.name}" for path in state.running.glob("*")),
    ]


async def of_engine(engine: Engine) -> list[str]:
    """What the stopped stack has left in an engine that was its own alone."""
    left = []
    for what in (("ps", "--all", "--quiet"), ("volume", "ls", "--quiet")):
        left += [f"{what[0]} {id_}" for id_ in (await docker(*what)).split()]
    return [*left, *(f"{words} of the engine" for words in engine.leftovers())]
