"""`sandstream copy`: the log of a state folder to other servers, while nothing else runs on it."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from sandstream import leftovers
from sandstream.eventlog import event_log
from sandstream.state import State
from sandstream.supervisor import Say
from streams.connection import NatsSettings
from streams.copying import copy
from streams.replay import reached
from streams.rights import ADMIN
from streams.server import passwords
from streams.settings import read
from streams.setup import LogSettings


async def move(state: State, urls: str, secrets: Path | None, say: Say) -> int:
    """Start the folder's own server for the time of the copy. Raises StateBusyError, CopyRefused.

    `secrets`: the passwords of the other servers, where they are not this folder's.
    """
    with state.held():
        for name in leftovers.end_all(state.running):
            say(f"{name} of an earlier life was still running: ended")
        password = SecretStr(passwords(secrets or state.secrets)[ADMIN])
        there = NatsSettings(nats_url=urls, nats_user=ADMIN, nats_password=password)
        async with (
            event_log(state, 0, say, own=True) as log,
            reached(log.settings(ADMIN), name="copy") as source,
            reached(there, name="copy") as target,
        ):
            report = await copy(source, target, read(LogSettings), say)
    for line in report.lines():
        say(line)
    say(f"from now on: SANDSTREAM_CLUSTER={urls} make up")
    return 3 if report.in_use else 0
