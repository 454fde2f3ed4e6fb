"""A cancel at every stage: the program is dead, the container gone, one terminal event told."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandstream.client import TERMINAL, Client

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
#: The promise is one second for what runs; the machine may be loaded.
PROMISED_SECONDS = 1.0
LOOSER = 5.0
#: Each test sleeps for another time, by which its process is found in all of the machine.
NUMBERS = itertools.count(1_000_000 + os.getpid() % 100_000 * 1000)


def sleepers(number: int) -> list[int]:
    """Processes whose command line names this number of seconds."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] in ([b"sleep"], [b"/bin/sleep"]) or b"sleep" in words[0]:
                found += [int(folder.name)] * (str(number).encode() in words)
    return found


def containers() -> set[str]:
    argv = ["docker", "ps", "--all", "--format", "{{.Names}}",
            "--filter", "label=sandstream.role=submission"]  # fmt: skip
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


async def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.05)


def body(number: int, stage: str) -> dict:
    """A submission that sleeps in one stage; `number` makes its shell one that nobody has built."""
    slow = f"sleep {number}"
    build = slow if stage in {"dependencies", "in-container"} else "true"
    shell = "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ "
    if stage in {"queued", "dependencies", "in-container"}:
        shell += f'(pkgs.runCommand "slow-{number}" {{}} "{build}; mkdir $out") '
    files = {"shell.nix": shell + "]; }\n", "run.sh": slow if stage == "run" else "true"}
    if stage == "compile":
        files["compile.sh"] = slow
    return {
        "files": [{"name": name, "content": content} for name, content in files.items()],
        "limits": {"run": {"wall_seconds": 60}, "compile": {"wall_seconds": 60}},
        "cache": stage != "in-container",
        "test_cases": [{}, {}],
    }


async def post_cancel(running, id_: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=30) as http:
        return await http.post(f"/submissions/{id_}/cancel")


async def cancelled(running, client: Client, id_: str) -> float:
    """Cancel it; the seconds until `cancelled` was heard, once, as the last and only end."""
    began = time.monotonic()
    assert (await post_cancel(running, id_)).status_code == 202
    async for event in client.events(id_):
        last = event
    seconds = time.monotonic() - began
    assert last.name == "cancelled"
    names = [event["event"] for event in await client.history(id_)]
    assert names[-2:] == ["cancel-requested", "cancelled"]
    assert len([name for name in names if name in TERMINAL]) == 1
    assert (await post_cancel(running, id_)).status_code == 409
    await asyncio.sleep(0.3)
    assert len(await client.history(id_)) == len(names)
    return seconds


@pytest.mark.parametrize("stage", ["dependencies", "in-container", "compile", "run"])
async def test_what_runs_is_stopped_within_a_second_and_leaves_nothing(running, stage):
    number = next(NUMBERS)
    async with Client(running.url) as client:
        id_ = await client.submit(body(number, stage))
        await until(lambda: sleepers(number), 60)
        seconds = await cancelled(running, client, id_)
        assert seconds < PROMISED_SECONDS * LOOSER
        await until(lambda: not sleepers(number), LOOSER)
        history = await client.history(id_)
        found = await client.get(id_)
    used = {event["container"] for event in history if event["event"] == "started"}
    assert bool(used) == (stage != "dependencies")
    await until(lambda: not used & containers(), LOOSER)
    assert found["status"] == "cancelled"
    assert found["runs"] == []
    assert found["verdict"] is None


async def test_the_second_case_can_be_cancelled_and_the_first_keeps_its_result(running):
    number = next(NUMBERS)
    wanted = body(number, "run")
    wanted["files"][1]["content"] = f"read -r n; echo $n; if [ $n = 1 ]; then sleep {number}; fi"
    wanted["test_cases"] = [{"stdin": "0\n"}, {"stdin": "1\n"}, {"stdin": "2\n"}]
    async with Client(running.url) as client:
        id_ = await client.submit(wanted)
        await until(lambda: sleepers(number), 60)
        await cancelled(running, client, id_)
        found = await client.get(id_)
    assert [run["stdout"] for run in found["runs"]] == ["0\n"]
    await until(lambda: not sleepers(number), LOOSER)


@contextmanager
def frozen(container: str):
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)


async def test_what_waits_for_a_builder_is_cancelled_without_one(running):
    number = next(NUMBERS)
    async with Client(running.url) as client:
        with frozen(running.pair.builder.name):
            id_ = await client.submit(body(number, "queued"))
            assert (await client.get(id_))["status"] == "deps-queued"
            seconds = await cancelled(running, client, id_)
            assert seconds < PROMISED_SECONDS * LOOSER
        # The builder wakes, and finds that nobody wants it any more.
        again = await client.run(body(next(NUMBERS), "queued"), within=60)
        assert again["verdict"] == "ok"
        names = [event["event"] for event in await client.history(id_)]
    assert names == ["submitted", "deps-queued", "cancel-requested", "cancelled"]


@pytest.mark.parametrize("cache", [True, False])
async def test_what_no_worker_takes_can_be_cancelled_twice_and_ends_once(running, cache):
    """While the only worker is frozen nothing ends; each cancel is 202, one event is written."""
    worker = running.children["worker"].pid
    async with Client(running.url) as client:
        os.kill(worker, signal.SIGSTOP)
        try:
            id_ = await client.submit(body(next(NUMBERS), "run") | {"cache": cache})
            if cache:
                for _ in range(200):
                    if (await client.get(id_))["status"] == "deps-built":
                        break
                    await asyncio.sleep(0.05)
            answers = await asyncio.gather(*(post_cancel(running, id_) for _ in range(5)))
            assert {answer.status_code for answer in answers} == {202}
            assert {answer.json()["status"] for answer in answers} == {"cancel-requested"}
            assert (await post_cancel(running, id_)).status_code == 202
        finally:
            os.kill(worker, signal.SIGCONT)
        async for event in client.events(id_):
            last = event
        names = [event["event"] for event in await client.history(id_)]
    assert last.name == "cancelled"
    assert names.count("cancel-requested") == names.count("cancelled") == 1
    assert len([name for name in names if name in TERMINAL]) == 1
    assert "started" not in names


async def test_what_has_finished_can_not_be_cancelled(running):
    async with Client(running.url) as client:
        found = await client.run(body(next(NUMBERS), "none"))
        answer = await post_cancel(running, found["id"])
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert await client.get(found["id"]) == found


async def test_a_cancel_at_any_moment_is_either_kept_or_too_late(running):
    """202: it ends as cancelled, whatever was under way. 409: it had finished. Nothing between."""
    ends: dict[tuple[int, str], int] = {}

    async def one(client: Client, delay: float, *, cache: bool) -> None:
        wanted = body(next(NUMBERS), "none") | {"cache": cache}
        wanted["test_cases"] = [{}] * 8
        id_ = await client.submit(wanted)
        await asyncio.sleep(delay)
        answer = await post_cancel(running, id_)
        found = await client.end_of(id_, within=60)
        names = [event["event"] for event in await client.history(id_)]
        assert len([name for name in names if name in TERMINAL]) == 1, names
        assert names[-1] in TERMINAL, names
        told = (answer.status_code, found["status"])
        assert told in {(202, "cancelled"), (409, "finished")}, names
        ends[told] = ends.get(told, 0) + 1

    async with Client(running.url, timeout=60) as client:
        for cache in (True, False):
            await asyncio.gather(*(one(client, n / 8, cache=cache) for n in range(24)))
    assert sum(ends.values()) == 48
    assert ends[202, "cancelled"] >= 5
