"""A child that dies is started again; what an earlier life left is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandstream import leftovers, supervisor
from sandstream.state import NotRunningError, State, StateBusyError
from sandstream.supervisor import Deaths, Program, pause, supervised
from tests.killing import kill

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    state.logs.mkdir(parents=True)
    return state


def sleeper(name: str = "sleeper") -> Program:
    return Program(name, ("sleep", "600"), ENV, Path("/"))


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came true")


async def test_a_killed_child_is_started_again_and_it_is_said(state):
    said = []
    async with supervised(sleeper(), state, said.append) as child:
        first = child.pid
        kill(first)
        await until(lambda: child.pid not in {None, first})
        assert child.restarts == 1
        assert said[0].startswith("sleeper was ended by signal 9; again in 0.2 s")
        second = child.pid
    assert leftovers.birth(second) is None
    assert list(state.running.iterdir()) == []


async def test_a_child_that_can_not_be_started_again_is_said_and_tried_later(state, monkeypatch):
    said = []
    note, failures = leftovers.note, iter([OSError(28, "No space left on device")])
    async with supervised(sleeper(), state, said.append) as child:

        def full(*given):
            if (error := next(failures, None)) is not None:
                raise error
            note(*given)

        monkeypatch.setattr(leftovers, "note", full)
        first = child.pid
        kill(first)
        await until(lambda: any("could not be started: " in words for words in said))
        assert "No space left" in said[-1]
        await until(lambda: child.pid not in {None, first})
        last = child.pid
    assert leftovers.birth(last) is None
    assert list(state.running.iterdir()) == []


async def test_a_child_knows_only_the_environment_that_it_was_given(state, monkeypatch):
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    code = "import os; print(sorted(os.environ))"
    program = Program("env", (sys.executable, "-c", code), {"A": "1"}, Path("/"))
    async with supervised(program, state, lambda _: None):
        await until(lambda: "['A'" in (state.logs / "env.log").read_text())
    assert "SECRET_OF_OURS" not in (state.logs / "env.log").read_text()


def test_the_pause_doubles_and_stays_bounded():
    assert [pause(n) for n in (1, 2, 3, 100)] == [0.2, 0.4, 0.8, 30.0]


def test_who_was_well_for_a_while_is_started_again_soon(monkeypatch):
    """Nine deaths in a year are nine stories."""
    now = 0.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    deaths, waits = Deaths(), []
    for lived in (1, 1, 1, 3600, 1):
        deaths.born()
        now += lived
        waits.append(deaths.died())
    assert waits == [0.2, 0.4, 0.8, 0.2, 0.4]


def test_what_an_earlier_life_left_is_ended(tmp_path):
    process = subprocess.Popen(["sleep", "600"])
    leftovers.note(tmp_path, "old", process.pid)
    # As its parent we would see a zombie; birth() takes that for ended.
    assert leftovers.end_all(tmp_path) == ["old"]
    assert process.wait() == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_another_process_that_got_the_same_pid_is_left_alone(tmp_path):
    (tmp_path / "old").write_text(f"{os.getpid()} 1")
    assert leftovers.end_all(tmp_path) == []


def test_a_state_folder_serves_one_system_at_a_time(tmp_path):
    state = State(tmp_path)
    with state.held():
        state.announce("http://127.0.0.1:1")
        with pytest.raises(StateBusyError) as raised, State(tmp_path).held():
            pass
        assert raised.value.url == "http://127.0.0.1:1"
        assert raised.value.pid == os.getpid()
    with State(tmp_path).held():
        pass


def test_where_the_log_is_can_be_asked_while_a_system_runs_and_only_then(tmp_path):
    state = State(tmp_path)
    with pytest.raises(NotRunningError, match="make up"):
        state.events()
    with state.held():
        with pytest.raises(NotRunningError):
            state.events()  # it is only starting
        state.announce("http://127.0.0.1:1", "nats://127.0.0.1:2")
        assert State(tmp_path).events() == "nats://127.0.0.1:2"
    with pytest.raises(NotRunningError):
        state.events()
