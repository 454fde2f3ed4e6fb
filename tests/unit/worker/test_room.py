"""How many cases run at once: what was asked for, where the walls hold them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from init.limits import GIB, LIMITS, MIB, Stage, StageLimits, defaults
from streams.content import inline
from streams.limits import Limits
from streams.request import File, Request
from worker.room import Room, cases_at_once, memory_of
from worker.settings import WorkerSettings

WALLS = WorkerSettings(runner_image="x")
USUAL = Room(WALLS.container_memory_bytes, WALLS.container_processes, 4)


def request(*, compiles: bool = False, compile_disk: int = 256 * MIB, **run) -> Request:
    files = ["shell.nix", "run.sh", *(["compile.sh"] if compiles else [])]
    limits = Limits(
        run=replace(defaults(Stage.RUN), **run),
        compile=replace(defaults(Stage.COMPILE), disk_bytes=compile_disk),
    )
    return Request(files=tuple(File(name=n, content=inline(b"x")) for n in files), limits=limits)


def test_without_the_setting_they_run_one_by_one():
    assert WALLS.cases_at_once == 1
    assert cases_at_once(replace(USUAL, cases_at_once=1), request()) == 1


@pytest.mark.parametrize("compiles", [False, True])
def test_usual_limits_fit_as_often_as_is_asked_for(compiles):
    assert cases_at_once(USUAL, request(compiles=compiles)) == 4


def test_runs_that_may_take_all_of_the_container_run_alone():
    largest = request(compiles=True, compile_disk=2 * GIB, memory_bytes=4 * GIB)
    assert cases_at_once(USUAL, largest) == 1
    assert cases_at_once(USUAL, request(processes=1024)) == 1


def test_as_many_run_as_fit():
    # (12.25 GiB - 256 MiB) / (4 GiB and what their outputs take)
    assert cases_at_once(USUAL, request(memory_bytes=4 * GIB)) == 2
    assert cases_at_once(USUAL, request(processes=400)) == 3
    assert cases_at_once(replace(USUAL, memory_bytes=64 * MIB), request()) == 1


def test_container_needs_what_its_stages_may_use_and_its_files_twice():
    # init, the run, its copy of what is given, its output twice
    usual = memory_of(request(), 1, builds=False)
    assert 512 * MIB < usual < 560 * MIB
    assert memory_of(request(), 3, builds=False) > usual + 2 * 256 * MIB
    # what compile left, and the copy of it
    assert memory_of(request(compiles=True), 1, builds=False) > usual + 2 * 256 * MIB
    # the build alone is more than the run
    assert 2 * GIB < memory_of(request(), 1, builds=True) < 2.5 * GIB


def test_largest_limits_that_may_be_asked_fit_into_the_usual_walls():
    limits = Limits(
        **{
            stage.value: StageLimits(**{limit.name: limit.maximum(stage) for limit in LIMITS})
            for stage in Stage
        }
    )
    largest = request(compiles=True).model_copy(update={"limits": limits})
    assert memory_of(largest, 1, builds=True) <= WALLS.container_memory_bytes
