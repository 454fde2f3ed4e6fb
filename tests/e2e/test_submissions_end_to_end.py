"""Over HTTP, through every process: what the demo submits has the results that it must."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sandstream import commands
from sandstream.client import ApiError, Client
from sandstream.demo import demo
from sandstream.folder import load
from sandstream.scenes import EXAMPLES
from sandstream.serve import AUDIT
from sandstream.stack import stack
from sandstream.state import State, StateBusyError
from streams.rights import ADMIN

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
ROOT = Path(__file__).parents[2]


async def test_the_demo_ends_with_every_submission_as_expected(running):
    """Exact sequences of events, outcomes, verdicts, and the second C++ one is a hit."""
    out = io.StringIO()
    status = await demo(running.url, None, Console(file=out, width=120))
    assert status == 0, out.getvalue()
    assert "All 6 ended as they should" in out.getvalue()
    assert "times faster" in out.getvalue()


async def test_a_stream_taken_up_in_the_middle_gives_the_rest_and_nothing_twice(running):
    async with Client(running.url) as client:
        id_ = await client.submit(load(EXAMPLES / "python-stdin"))
        every = [event async for event in client.events(id_)]
        rest = [event async for event in client.events(id_, after=every[2].sequence)]
        assert [event.sequence for event in rest] == [e.sequence for e in every[3:]]
        recorded = await client.history(id_)
        assert [event["sequence"] for event in recorded] == [e.sequence for e in every]


async def test_a_running_program_is_cancelled(running):
    body = load(EXAMPLES / "python-too-long")
    body["limits"] = {"run": {"wall_seconds": 50, "cpu_seconds": 50}}
    async with Client(running.url) as client:
        id_ = await client.submit(body)
        async for event in client.events(id_):
            if event.name == "started":
                await asyncio.sleep(0.3)
                await client.cancel(id_)
        found = await client.get(id_)
    assert found["status"] == "cancelled"
    names = [moment["event"] for moment in found["timeline"]]
    assert names[-2:] == ["cancel-requested", "cancelled"]


async def test_every_fault_of_a_request_is_told_at_once(running):
    async with Client(running.url) as client:
        with pytest.raises(ApiError) as raised:
            await client.submit({"files": [], "cache": "perhaps", "env": {}})
    assert raised.value.status == 422
    assert len(raised.value.errors) >= 3


async def test_a_replay_does_the_same(running):
    out = io.StringIO()
    console = Console(file=out, width=120)
    async with Client(running.url) as client:
        first = await client.run(load(EXAMPLES / "cpp-broken"))
        assert await commands.replay(client, first["id"], console=console) == 0
    assert "the same in every stage" in out.getvalue()


async def test_the_command_line_submits_a_folder(running):
    argv = [sys.executable, "-m", "sandstream", "submit", "--url", running.url, "--json"]
    process = await asyncio.create_subprocess_exec(
        *argv, "examples/python-stdin", cwd=ROOT, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["verdict"] == "accepted"


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode()


async def test_no_service_has_a_password_in_its_environment(running):
    """Each reads its own from a file (tests/e2e/test_confined.py)."""
    secrets = running.log.secrets
    assert ADMIN in secrets
    for name, child in running.children.items():
        known = environment(child.pid)
        assert f"passwords/{name}" in known, known
        assert not [user for user, word in secrets.items() if word in known]


async def test_a_second_stack_on_the_same_state_is_refused_and_told_where_the_first_is(running):
    state = State(running.children["api"].log.parent.parent)
    with pytest.raises(StateBusyError) as raised:
        async with stack(state, port=1, nats_port=0, say=print):
            pass
    assert raised.value.url == running.url


async def test_running_system_is_audited_by_the_words_of_its_banner(running):
    state = running.children["api"].log.parent.parent
    process = await asyncio.create_subprocess_shell(
        AUDIT.replace(".venv/bin", str(Path(sys.executable).parent)),
        cwd=ROOT,
        env=os.environ | {"SANDSTREAM_STATE": str(state)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    assert b"0 damaged" in out
