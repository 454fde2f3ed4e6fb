"""What dies is started again and its work goes on; what was recorded is found; nothing is left."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from uuid import uuid4

import pytest

from sandstream import leftovers
from sandstream.client import Client
from sandstream.folder import load
from sandstream.scenes import EXAMPLES, stamped
from tests.e2e.conftest import containers, system
from tests.killing import kill, running_on

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    """A dead holder's work is another's after two seconds."""
    monkeypatch.setenv("SANDSTREAM_LEASE_SECONDS", "2")


def slow(seconds: float = 3.0) -> dict:
    body = load(EXAMPLES / "python-stdin")
    body["test_cases"] = [{"stdin": "1\n"}]
    for file in body["files"]:
        if file["name"] == "main.py":
            file["content"] = f"import time; time.sleep({seconds}); print('done')"
    return body


async def until(condition, seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")


async def test_what_was_recorded_is_found_by_the_next_life_and_nothing_is_left_between(make_state):
    state = make_state()
    said: list[str] = []
    async with system(state, said) as running, Client(running.url) as client:
        done = await client.run(load(EXAMPLES / "python-stdin"))
        pids = [child.pid for child in running.children.values()]
        assert len(containers(state)) > 2
    assert done["verdict"] == "accepted"
    assert [pid for pid in pids if leftovers.birth(pid)] == []
    assert containers(state) == []
    assert list(state.running.iterdir()) == []

    async with system(state, said) as running, Client(running.url) as client:
        assert await client.get(done["id"]) == done
        assert await _listed(client) == [(done["id"], "finished")]
        again = await client.run(load(EXAMPLES / "python-stdin"))
        assert again["environment"]["how"] == "hit"
    assert said == []


async def test_a_worker_that_is_killed_is_started_again_and_its_submission_runs_again(make_state):
    state = make_state()
    said: list[str] = []
    async with system(state, said) as running, Client(running.url) as client:
        worker = running.children["worker"]
        first = worker.pid
        id_ = await client.submit(slow())
        async for event in client.events(id_):
            if event.name == "started" and event.fields["attempt"] == 1:
                kill(first)
        found = await client.get(id_)
        assert (found["status"], found["attempts"]) == ("finished", 2)
        assert found["runs"][0]["stdout"] == "done\n"
        assert worker.pid not in {None, first}
    assert [words for words in said if words.startswith("worker was ended by signal 9")]
    assert containers(state) == []


@pytest.mark.parametrize("name", ["projector", "api"])
async def test_any_other_service_that_is_killed_is_back(make_state, name):
    state = make_state()
    said: list[str] = []
    async with system(state, said) as running, Client(running.url) as client:
        child = running.children[name]
        first = child.pid
        kill(first)
        await until(lambda: child.pid not in {None, first})
        id_ = await _sent(client, load(EXAMPLES / "python-stdin"))
        assert (await client.end_of(id_))["verdict"] == "accepted"
    assert len(said) == 1


async def test_the_event_log_and_the_builder_come_back_where_they_were(make_state):
    state = make_state()
    said: list[str] = []
    async with system(state, said) as running, Client(running.url) as client:
        before = await client.run(load(EXAMPLES / "python-stdin"))
        pid, _ = (state.running / "nats").read_text().split()
        kill(int(pid))
        await running.pair.builder.kill()
        await until(lambda: len(said) >= 2)
        body = load(EXAMPLES / "python-stdin")
        for file in body["files"]:
            if file["name"] == "shell.nix":
                file["content"] = stamped(file["content"], uuid4().hex)
        id_ = await _sent(client, body)
        found = await client.end_of(id_, within=60)
        assert found["environment"]["how"] == "built"
        assert found["verdict"] == "accepted"
        assert await client.get(before["id"]) == before
    assert {words.split()[0] for words in said} == {"nats", "container"}
    assert containers(state) == []


@pytest.mark.parametrize("which", ["make up alone", "its build pool too"])
async def test_of_one_that_was_killed_the_next_start_leaves_no_build_container(
    make_state, monkeypatch, which
):
    state = make_state()
    monkeypatch.setenv("SANDSTREAM_STATE", str(state.folder))
    up = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandstream", "up", "--port", "0",
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: len(_of_builds(state)) == 2, 60)
        left = _of_builds(state)
        pool = running_on("worker.buildpool", state.folder)
        kill(up.pid)
        if which == "its build pool too":
            kill(pool)
        else:  # it ends with whoever started it, and takes its containers along
            await until(lambda: not _of_builds(state), 60)
    finally:
        with suppress(ProcessLookupError):
            up.kill()
        await up.wait()
    said: list[str] = []
    async with system(state, said) as running, Client(running.url) as client:
        found = await client.run(load(EXAMPLES / "python-stdin"))
        assert found["verdict"] == "accepted"
        assert not left & _of_builds(state)
    assert all("of an earlier life was still running" in words for words in said), said
    assert containers(state) == []
    assert running_on("worker.buildpool", state.folder) is None


def _of_builds(state) -> set[str]:
    return {name for name in containers(state) if "-builds-" in name}


async def _listed(client: Client) -> list[tuple[str, str]]:
    """The list, once the projector has nothing left to do."""
    for _ in range(100):
        page = await client.page(limit=5)
        found = [(item["id"], item["status"]) for item in page["submissions"]]
        if found and all(status == "finished" for _, status in found):
            break
        await asyncio.sleep(0.05)
    return found


async def _sent(client: Client, body: dict) -> str:
    """Send it as soon as there is someone to take it; a key keeps it one submission."""
    from sandstream.client import ApiError, UnreachableError

    for _ in range(200):
        try:
            return await client.submit(body, key="only-once")
        except UnreachableError:
            await asyncio.sleep(0.1)
        except ApiError as error:
            if error.status != 503:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("nobody took it")
