"""`python -m streams replay` and `setup`, and `python -m projector`, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest

from streams.entries import Entry
from streams.fold import Status
from streams.log import EventLog
from streams.readmodel import ReadModel
from tests.projector.test_projector import reaches, serving, story

pytestmark = pytest.mark.integration


async def start(nats, user, *argv):
    env = os.environ | {
        "SANDSTREAM_NATS_URL": nats.url,
        "SANDSTREAM_NATS_USER": user,
        "SANDSTREAM_NATS_PASSWORD": nats.secrets[user],
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *argv, env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run(nats, user, *argv):
    process = await start(nats, user, *argv)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, out.decode(), err.decode()


async def test_replay_prints_every_event_and_finds_the_read_model_right(nats):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        for number in range(3):
            last = await story(log, f"s{number}")
        await reaches(model, last)
    code, out, err = await run(nats, "auditor", "streams", "replay")
    assert code == 0, err
    assert len(out.splitlines()) == last + 2
    assert "read model: 3 agree, 0 behind, 0 differ" in out
    code, out, err = await run(nats, "auditor", "streams", "replay", "--id", "s1", "--json")
    assert [json.loads(one)["event"] for one in out.splitlines()][-1] == "finished"
    assert "1 agree" in err
    code, out, _ = await run(nats, "auditor", "streams", "replay", "--from", "3", "--to", "4")
    assert code == 0
    assert [one.split()[0] for one in out.splitlines()[:2]] == ["3", "4"]
    code, _, err = await run(nats, "auditor", "streams", "replay", "--id", "nobody")
    assert code == 1
    assert "no event" in err


async def test_replay_finds_an_entry_that_was_tampered_with(nats):
    async with serving(nats) as client, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(client)
        await reaches(model, await story(log, "s1"))
        generation = await model.live()
        stored, revision = await generation.get("s1")
        lie = stored.submission.model_copy(update={"status": Status.FAILED})
        await generation.put(Entry(submission=lie), revision)
    code, out, _ = await run(nats, "auditor", "streams", "replay", "--quiet")
    assert code == 1
    assert "DIFFERS: s1" in out


async def test_replay_tells_late_from_wrong(nats):
    async with nats.connect("admin") as admin:
        await story(EventLog(admin), "s1")
    code, out, _ = await run(nats, "auditor", "streams", "replay", "--quiet")
    assert code == 0
    assert "0 agree, 1 behind, 0 differ" in out


async def test_the_projector_process_serves_rebuilds_and_ends_on_sigterm(nats):
    async with nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(admin)
        last = await story(log, "s1")
        projector = await start(nats, "projector", "projector")
        await reaches(model, last)
        code, out, err = await run(nats, "projector", "projector", "rebuild")
        assert code == 0, err
        assert "rebuilt generation b: 6 events, 1 submissions" in out
        assert "1 equal" in out
        await reaches(model, await story(log, "s2"))
        projector.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(projector.communicate(), 5)
        assert projector.returncode == 0, err.decode()
        assert b"Traceback" not in err
        assert b"nats: projector" not in err, err.decode()


async def test_setup_can_be_run_again(nats):
    code, out, err = await run(nats, "admin", "streams", "setup")
    assert code == 0, err
    assert "are there" in out


async def test_without_a_server_the_commands_say_so(nats):
    nats.process.terminate()
    await nats.process.wait()
    for user, *argv in (
        ("auditor", "streams", "replay"),
        ("admin", "streams", "setup"),
        ("projector", "projector", "rebuild"),
    ):
        code, _, err = await run(nats, user, *argv)
        assert code == 1
        assert f"connect to {nats.url}" in err, argv
        assert "Traceback" not in err
