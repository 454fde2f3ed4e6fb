"""The event log's server as a part of the stack: kept alive, on the port that it first had.

Or servers that others keep (`SANDSTREAM_CLUSTER`): then nothing is started here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from sandstream import confined, credentials, leftovers
from sandstream.settings import StackSettings
from sandstream.state import State
from sandstream.supervisor import Deaths, Say, ended
from streams.connection import NatsSettings
from streams.replay import reached
from streams.rights import ADMIN
from streams.server import ServerConfig, ServerFailed, passwords, server
from streams.settings import read
from streams.setup import LogSettings, setup

NAME: Final = "nats"


class EventLogServer:
    """Where it is, the password of each of its users, and the folder of the files with them."""

    def __init__(self, url: str, secrets: dict[str, str], passwords: Path) -> None:
        self.url = url
        self.secrets = secrets
        self.passwords = passwords

    def settings(self, user: str) -> NatsSettings:
        """How to connect as one user."""
        return NatsSettings(
            nats_url=self.url, nats_user=user, nats_password=SecretStr(self.secrets[user])
        )

    def env(self, user: str) -> dict[str, str]:
        """The same for another process: it reads its own password, and no other."""
        return {
            "SANDSTREAM_NATS_URL": self.url,
            "SANDSTREAM_NATS_USER": user,
            credentials.PASSWORD_FILE: str(self.passwords / user),
        }


@asynccontextmanager
async def event_log(
    state: State, port: int, say: Say, *, own: bool = False
) -> AsyncIterator[EventLogServer]:
    """The running server with its streams, queues and buckets made.

    `own`: the one of this folder, though others keep one for the stack.
    """
    secrets = known(state)
    cluster = read(StackSettings).cluster
    if cluster and not own:
        running = EventLogServer(cluster, secrets, state.passwords)
        await _set_up(running, read(LogSettings), None)
        yield running
        return
    # Port -1 lets the server choose.
    config = ServerConfig(
        folder=state.nats,
        passwords=secrets,
        port=port or -1,
        host=read(StackSettings).nats_host,
        uid=confined.uid(state, NAME),
    )
    config = replace(config, launcher=confined.event_log(config).launcher())
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    keeper = asyncio.create_task(_keep(config, state, say, ready))
    try:
        running = EventLogServer(await ready, secrets, state.passwords)
        # Alone it holds every stream once, however many copies others are to hold.
        settings = read(LogSettings).model_copy(update={"replicas": 1})
        await _set_up(running, settings, state.nats)
        yield running
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        leftovers.forget(state.running, NAME)


def known(state: State) -> dict[str, str]:
    """The users' passwords, made at the first start; each is in a file for its reader too."""
    secrets = passwords(state.secrets)
    owners = {name: confined.uid(state, name) for name in confined.NAMES}
    credentials.write(state, secrets, owners)
    return secrets


async def _set_up(running: EventLogServer, settings: LogSettings, folder: Path | None) -> None:
    async with reached(running.settings(ADMIN), name="setup") as client:
        await setup(client, settings, folder)


async def _keep(config: ServerConfig, state: State, say: Say, ready: asyncio.Future[str]) -> None:
    deaths = Deaths()
    while True:
        deaths.born()
        try:
            async with server(config) as (process, url):
                leftovers.note(state.running, NAME, process.pid)
                config = replace(config, port=urlsplit(url).port or config.port)
                if not ready.done():
                    ready.set_result(url)
                status = await process.wait()
                why = ended(status)
        except (ServerFailed, OSError) as error:  # no memory or disk is left for it: then later
            if not ready.done():
                ready.set_exception(error)
                return
            why = str(error)
        wait = deaths.died()
        say(f"{NAME} {why}; again in {wait:g} s ({state.nats / 'nats.log'})")
        await asyncio.sleep(wait)
