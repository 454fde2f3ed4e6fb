"""An environment that is built before anybody submits it, on the whole system."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import uuid
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sandstream.client import Client

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


def shell(more="") -> dict:
    text = (
        "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ]; "
        f'ONCE = "{uuid.uuid4().hex}"; {more} }}'
    )
    return {"name": "shell.nix", "content": text}


async def test_a_warmed_environment_is_followed_live_and_then_a_hit_for_its_submissions(running):
    file = shell()
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as http:
        asked = await http.post("/environments", json={"files": [file]})
        assert asked.status_code == 201, asked.text
        here = asked.headers["location"]
        async with http.stream("GET", f"{here}/events") as stream:
            lines = [line async for line in stream.aiter_lines() if line.startswith("data: ")]
        queued, built = (json.loads(line.removeprefix("data: ")) for line in lines)
        assert (queued["event"], built["event"], built["how"]) == (
            "deps-queued", "deps-built", "built",
        )  # fmt: skip
        async with Client(running.url) as client:
            body = {"files": [file, {"name": "run.sh", "content": "python3 -c 'print(6 * 7)'"}]}
            done = await client.run(body)
        assert (done["runs"][0]["stdout"], done["environment"]["how"]) == ("42\n", "hit")
        for _ in range(100):
            shown = (await http.get(here)).json()
            if shown["hits"]:
                break
            await asyncio.sleep(0.1)
        listed = (await http.get("/environments")).json()
    assert (shown["status"], shown["how"], shown["hits"], shown["submission"]) == (
        "built", "built", 1, None,
    )  # fmt: skip
    assert shown["by"].startswith("builder@")
    assert shown["last_used"] > shown["built_at"]
    held = {path["path"] for path in shown["paths"]}
    # what its build made lies in the one path of its own; the rest is trusted, and shared
    assert held - set(shown["closure"]) == {shown["path"]}
    assert [path.split("-", 1)[1] for path in set(shown["closure"]) - held] == ["nix-shell-inputs"]
    assert sum(path["size_bytes"] for path in shown["paths"]) == shown["size_bytes"] > 10_000_000
    assert any("-python3-" in path["path"] for path in shown["paths"])
    inputs = next(path for path in shown["paths"] if path["path"] == shown["path"])
    assert any("-python3-" in path for path in inputs["references"])
    assert shown["id"] in [one["id"] for one in listed]


async def test_a_shell_that_can_not_be_built_is_told_with_its_log(running):
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as http:
        file = shell('x = pkgs.runCommand "x" {} "echo no such luck; exit 3";')
        answer = await http.post("/environments?wait=60", json={"files": [file]})
        shown = answer.json()
    assert (shown["status"], shown["path"]) == ("failed", None)
    assert "no such luck" in shown["result"]["stderr"]


def alive(words: bytes) -> bool:
    """Whether any process of this host has been called so, whatever namespaces it is in."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words in file.read_bytes():
                return True
    return False


async def until(true, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the builds' command lines")
async def test_a_withdrawn_build_ends_unless_a_submission_waits_for_it(running):
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as http:
        for submitted in (False, True):
            seconds = f"{secrets.randbelow(10**9) + 10**9}"
            building = f"sleep\0{seconds}\0".encode()
            file = shell(f'x = pkgs.runCommand "x" {{}} "sleep {seconds}";')
            asked = await http.post("/environments", json={"files": [file]})
            await until(lambda building=building: alive(building))
            if submitted:
                body = {"files": [file, {"name": "run.sh", "content": "true"}]}
                id_ = (await http.post("/submissions", json=body)).json()["id"]
                await asyncio.sleep(2)
            withdrawn = await http.post(f"{asked.headers['location']}/cancel")
            assert (withdrawn.status_code, withdrawn.json()["status"]) == (202, "cancelled")
            if submitted:
                await asyncio.sleep(5)  # several times what a builder takes to see a cancel
                assert alive(building)
                assert (await http.post(f"/submissions/{id_}/cancel")).status_code == 202
            await until(lambda building=building: not alive(building))
            assert (await http.get(asked.headers["location"])).json()["status"] == "cancelled"


@pytest.mark.parametrize("cache", [True, False])
async def test_a_store_path_that_is_a_link_opens_nothing(running, cache):
    """Nix lets a build's output be a link to anywhere; the jail has it as a link, and no more."""
    opens = 'opens = pkgs.runCommand "opens" { } "ln -s / $out";'
    text = (
        f"{{ pkgs ? import <nixpkgs> {{}} }}: let {opens} in pkgs.mkShell {{"
        f' packages = [ pkgs.coreutils ]; OPENS = "${{opens}}"; ONCE = "{uuid.uuid4().hex}"; }}'
    )
    script = "readlink $OPENS; cd $OPENS && pwd && ls -d box cgroup scratch channel; ls nix/store"
    body = {
        "files": [
            {"name": "shell.nix", "content": text},
            {"name": "run.sh", "content": script},
        ],
        "cache": cache,
    }
    async with Client(running.url) as client:
        done = await client.run(body)
        history = await client.history(done["id"])
    said = done["runs"][0]["stdout"].splitlines()
    closure = next(e["environment"]["closure"] for e in history if e["event"] == "deps-built")
    assert said[0] == "/"
    assert sorted(said[2:]) == sorted(path.rpartition("/")[2] for path in closure), done
