"""Leftovers are looked for at the start, again, and at the end; trouble in between is told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from worker.errors import EngineSilent
from worker.leftovers import kept_clean


class Host:
    """Says what it is told to say, one answer for each look; then that there is nothing."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.looks = 0

    async def remove_leftovers(self) -> int:
        self.looks += 1
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_it_is_looked_at_the_start_again_and_at_the_end():
    host = Host()
    async with kept_clean(host, again_seconds=0.01):
        assert host.looks == 1
        while host.looks < 3:
            await asyncio.sleep(0.001)
        looks = host.looks
    assert host.looks == looks + 1


async def test_what_comes_late_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        async with kept_clean(Host(0, 1)):
            pass
    assert "removed 1 containers" in caplog.text


async def test_an_engine_that_goes_away_stops_nobody(caplog):
    gone = EngineSilent("/socket", "refused")
    async with kept_clean(Host(0, gone, gone, gone), again_seconds=0.001):
        await asyncio.sleep(0.02)
    assert "no Docker engine answers at /socket" in caplog.text


async def test_without_an_engine_there_is_no_start():
    with pytest.raises(EngineSilent):
        async with kept_clean(Host(EngineSilent("/socket", "refused"))):
            raise AssertionError("it began")
