"""The containers around a store as a part of the stack, each started again when it dies.

Alone, on a host of their own: `python -m sandstream.builders builder --name two`, beside other
builders of the same store or without one; `… worker`, on a host that has workers alone: one, and
the storekeeper beside it; `… store`, the storekeeper by itself; `… cache`, a binary cache whose
builder is gone. docs/environments.md says when.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from init import seccomp
from sandstream import credentials, leftovers
from sandstream.containers import Pair, Running, builder_pair, cache_server, storekeeper
from sandstream.plans import BUILDER_UID, BuilderStack
from sandstream.services import (
    NotSetUpError,
    SetUp,
    caches,
    program,
    set_up,
    settings,
)
from sandstream.settings import StackSettings
from sandstream.state import State
from sandstream.supervisor import Deaths, Say, supervised
from streams.settings import read

_LOG_LINES: Final = 2000
#: Where a builder's container has its own folder.
_OWN: Final = "/var/lib/sandstream"

#: What can run without a stack.
_ROLES: Final[dict[str, Callable[[BuilderStack], AbstractAsyncContextManager[Pair | Running]]]] = {
    "builder": builder_pair,
    "store": storekeeper,
    "cache": cache_server,
}


def instance(state: State) -> str:
    """What the containers of this state folder are called."""
    return f"sandstream-{state.number}"


@asynccontextmanager
async def builders(
    state: State, made: SetUp, nats: Mapping[str, str], say: Say
) -> AsyncIterator[asyncio.Future[Pair]]:
    """They start while the caller does other things; the future tells when they are ready."""
    ready: asyncio.Future[Pair] = asyncio.get_running_loop().create_future()
    keeper = asyncio.create_task(_keep(state, made, nats, say, ready))
    try:
        yield ready
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        if ready.done() and not ready.cancelled():
            ready.exception()  # told already, or not wanted any more


async def _keep(
    state: State, made: SetUp, nats: Mapping[str, str], say: Say, ready: asyncio.Future[Pair]
) -> None:
    deaths = Deaths()
    while True:
        deaths.born()
        try:
            described = await _described(state, made, nats)
            why = await _live(trusted(described, nats), state, ready)
        except Exception as error:  # noqa: BLE001 - whatever the engine says, it is told
            if not ready.done():
                ready.set_exception(error)
                return
            why = repr(error)
        wait = deaths.died()
        first, *words = why.splitlines()
        for line in words:
            if line.startswith("wrong setting "):
                say(f"builder: {line}")
        say(f"{first.partition(';')[0]}; again in {wait:g} s ({_log(state)})")
        await asyncio.sleep(wait)


async def alone(role: str, state: State, name: str, say: Say) -> None:
    """One role without a stack, until cancelled; it shares with the others only the store."""
    made = await asyncio.to_thread(set_up, state)
    described = await _described(state, made, {})
    stack = replace(described, instance=f"{described.instance}-{name}", name=f"builder-{name}")
    if role == "builder":  # no other speaks to the log
        stack = trusted(stack, os.environ)
    loop = asyncio.get_running_loop()
    ours = asyncio.current_task()
    assert ours is not None  # noqa: S101 - a coroutine runs in one
    loop.add_signal_handler(signal.SIGTERM, ours.cancel)
    enter = _ROLES.get(role) or partial(_worker_host, state=state, made=made, say=say)
    deaths = Deaths()
    while True:
        deaths.born()
        try:
            async with enter(stack) as running:
                say(f"{role} {name}: up")
                why = str(await running.died())
        except Exception as error:  # noqa: BLE001 - whatever the engine says, it is told
            why = repr(error)
        wait = deaths.died()
        say(f"{why}\nagain in {wait:g} s")
        await asyncio.sleep(wait)


@asynccontextmanager
async def _worker_host(
    stack: BuilderStack, *, state: State, made: SetUp, say: Say
) -> AsyncIterator[Running]:
    """A worker, which is started again when it dies, and what fills its host's store.

    A worker of an earlier life that was killed itself still runs, and has the same name.
    """
    with state.held():
        for name in leftovers.end_all(state.running):
            say(f"{name} of an earlier life was still running: ended")
        async with storekeeper(stack) as keeper:
            password = state.passwords / "worker"
            told = credentials.handed(credentials.of(os.environ), password, os.geteuid())
            told["SANDSTREAM_STOREKEEPER"] = str(stack.store_run / "socket")
            async with supervised(program("worker", state, made, 0, told), state, say):
                yield keeper


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandstream.builders", description=__doc__)
    parser.add_argument("role", choices=(*_ROLES, "worker"))
    parser.add_argument("--name", default="alone", help="of its folders and containers")
    given = parser.parse_args()
    state = State(read(StackSettings).state.absolute())
    try:
        asyncio.run(alone(given.role, state, given.name, print))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return
    except NotSetUpError as error:
        raise SystemExit(str(error)) from None


async def _live(stack: BuilderStack, state: State, ready: asyncio.Future[Pair]) -> str:
    """One life of the pair; how it ended."""
    async with builder_pair(stack) as pair:
        if not ready.done():
            ready.set_result(pair)
        try:
            return str(await pair.died())
        finally:
            # The container goes, and with it what it said.
            words = await pair.builder.log(_LOG_LINES)
            with _log(state).open("a") as log:
                log.write(words)


async def _described(state: State, made: SetUp, nats: Mapping[str, str]) -> BuilderStack:
    environment = {
        **settings(os.environ),
        **caches(made.channel_revision, os.environ),
        "SANDSTREAM_CHANNEL_REVISION": made.channel_revision,
        **{name: nats[name] for name in nats.keys() - credentials.VARIABLES},
    }
    # Inside, it has places of its own.
    environment.pop("SANDSTREAM_STATE", None)
    for ours in ("SANDSTREAM_BUILDER_MEMORY_BYTES", "SANDSTREAM_CACHE_LISTEN"):
        environment.pop(ours, None)
    own = read(StackSettings)
    return BuilderStack(
        instance=instance(state),
        state=state.folder,
        builder_image=made.images.builder,
        runner_image=made.images.runner,
        seccomp=json.dumps(seccomp.profile()),
        environment=environment,
        cache_listen=own.cache_listen,
        memory_bytes=own.builder_memory_bytes,
    )


def trusted(stack: BuilderStack, nats: Mapping[str, str]) -> BuilderStack:
    """The same builder with its password, as a file beside its signing key."""
    file = stack.own / "nats-password"
    told = credentials.handed(credentials.of(nats), file, BUILDER_UID, f"{_OWN}/{file.name}")
    return replace(stack, environment={**stack.environment, **told})


def _log(state: State) -> Path:
    return state.logs / "builder.log"


if __name__ == "__main__":
    main()
