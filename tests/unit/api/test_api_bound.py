"""New submissions are refused by the projector's count and by what was accepted beyond it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from api import bound
from api.bound import Bound
from api.problems import Problem
from streams.errors import LogUnavailable
from streams.readmodel import Progress


class World:
    """A log and a read model that say what a test wants; every check looks at them."""

    def __init__(self, monkeypatch, most):
        monkeypatch.setattr(bound, "_LOOK_SECONDS", 0.0)
        self.newest = 0
        self.progress = Progress()
        self.away = False
        self.bound = Bound(most, self._generation)

    async def _generation(self):
        async def progress():
            if self.away:
                raise LogUnavailable("read", "away")
            return self.progress

        return SimpleNamespace(progress=progress)

    async def takes(self, events=2):
        await self.bound.check()
        self.newest += events
        self.bound.accepted(self.newest)

    async def refuses(self):
        with pytest.raises(Problem) as caught:
            await self.bound.check()
        assert caught.value.status == 429
        return caught.value.extra["open"]


async def test_the_bound_holds_while_the_projector_is_away(monkeypatch):
    world = World(monkeypatch, 3)
    world.progress = Progress(sequence=10, open=1)
    world.newest = 10
    for _ in range(2):
        await world.takes()
    for _ in range(5):
        assert await world.refuses() == 3


async def test_what_the_projector_has_counted_is_not_counted_again(monkeypatch):
    world = World(monkeypatch, 3)
    for _ in range(3):
        await world.takes()
        await world.bound.check() if world.newest < 6 else await world.refuses()
    world.progress = Progress(sequence=4, open=2)
    assert await world.refuses() == 3
    world.progress = Progress(sequence=6, open=3)
    assert await world.refuses() == 3
    world.progress = Progress(sequence=9, open=0)
    await world.bound.check()


async def test_without_a_read_model_nothing_is_refused_and_nothing_forgotten(monkeypatch):
    world = World(monkeypatch, 1)
    await world.takes()
    world.away = True
    await world.bound.check()
    world.away = False
    assert await world.refuses() == 1
