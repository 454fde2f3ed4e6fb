"""`sandstream copy`: the log of a state folder to other servers, while nothing else runs on it."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import SecretStr

from sandstream import leftovers
from sandstream.eventlog import event_log
from sandstream.state import State
from sandstream.supervisor import Say
from streams.connection import NatsSettings
from streams.copying import Copied, copy
from streams.replay import reached
from streams.rights import ADMIN
from streams.server import passwords
from streams.settings import read
from streams.setup import LogSettings


async def move(state: State, urls: str, secrets: Path | None, say: Say) -> int:
    """Start the folder's own server for the time of the copy. Raises StateBusyError, CopyRefused.

    `secrets`: the passwords of the other servers, where they are not this folder's.
    """
    settings, nats = read(LogSettings), read(NatsSettings)
    with state.held():
        for name in leftovers.end_all(state.running):
            say(f"{name} of an earlier life was still running: ended")
        password = SecretStr(passwords(secrets or state.secrets)[ADMIN])
        there = nats.model_copy(
            update={"nats_url": urls, "nats_user": ADMIN, "nats_password": password}
        )
        async with (
            event_log(state, 0, say, own=True) as log,
            reached(log.settings(ADMIN), name="copy") as source,
            reached(there, name="copy") as target,
        ):
            report = await copy(source, target, settings, say)
    for line in [*report.lines(), *next_steps(report, state, urls, secrets)]:
        say(line)
    return 3 if report.in_use else 0


def next_steps(report: Copied, state: State, urls: str, secrets: Path | None) -> list[str]:
    """How the stack runs on the copy; nothing while that is not the last word."""
    if report.in_use:
        return []
    lines = [f"from now on: SANDSTREAM_CLUSTER={urls} make up"]
    if secrets is not None and secrets.resolve() != state.secrets.resolve():
        # `make up` knows the passwords of its folder, and no others.
        becomes = shlex.join(["cp", str(secrets), str(state.secrets)])
        lines.insert(0, f"first make its passwords this folder's: {becomes}")
    return lines
