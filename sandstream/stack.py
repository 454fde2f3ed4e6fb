"""The whole system on this machine, as one context manager: the same processes as on many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from sandstream import address, leftovers
from sandstream.address import free_port
from sandstream.builders import builders
from sandstream.containers import Pair
from sandstream.eventlog import EventLogServer, event_log
from sandstream.services import SERVICES, program, set_up
from sandstream.settings import StackSettings
from sandstream.state import State
from sandstream.supervisor import Child, Say, supervised
from streams.settings import read

_READY_SECONDS: Final = 60.0
_SYSCTL: Final = "net.ipv4.ip_unprivileged_port_start"
_FIRST_PORT: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


class StackFailedError(Exception):
    """The system did not come up; the message ends with the words of who failed."""


@dataclass
class Stack:
    """A running system: where it serves, and its processes."""

    url: str
    log: EventLogServer
    children: dict[str, Child] = field(default_factory=dict)
    pair: Pair | None = None


@asynccontextmanager
async def stack(state: State, *, port: int, nats_port: int, say: Say) -> AsyncIterator[Stack]:
    """Everything is up and answers; at the end everything is stopped, in order.

    `port`: of the API; 0: any free one.
    """
    host = read(StackSettings).host
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(state.held())
        port = port or free_port(host)
        _may_listen(port, nats_port)
        made = await asyncio.to_thread(set_up, state)
        for name in leftovers.end_all(state.running):
            say(f"{name} of an earlier life was still running: ended")
        log = await cleanup.enter_async_context(event_log(state, nats_port, say))
        builder = builders(state, made, log.env("builder"), say)
        building = await cleanup.enter_async_context(builder)
        running = Stack(address.url(host, port), log)
        for name in SERVICES:
            one = program(name, state, made, port, log.env(name))
            child = await cleanup.enter_async_context(supervised(one, state, say))
            running.children[name] = child
        await _ready(running)
        running.pair = await building
        state.announce(running.url, log.url)
        yield running


def _may_listen(*ports: int) -> None:
    """Raises StackFailedError for a port that takes a capability, which no service has."""
    first = int(_FIRST_PORT.read_text())
    for port in ports:
        if 0 < port < first:
            raise StackFailedError(
                f"port {port} is below {first}, where no service without privileges can listen:"
                f" take another and put a proxy before it, or set sysctl {_SYSCTL}={port}"
            )


async def _ready(running: Stack) -> None:
    """Wait until the API says that it can serve; who dies meanwhile ends the attempt."""
    deadline = time.monotonic() + _READY_SECONDS
    async with httpx.AsyncClient(base_url=running.url, trust_env=False) as client:
        while True:
            try:
                answer = await client.get("/readyz", timeout=2.0)
            except httpx.TransportError as error:
                words = f"the API does not answer ({error!r})"
            else:
                if answer.is_success:
                    return
                words = f"/readyz answers {answer.status_code}: {answer.text}"
            for child in running.children.values():
                if child.restarts:
                    raise StackFailedError(f"{child.program.name} does not start\n{_tail(child)}")
            if time.monotonic() > deadline:
                raise StackFailedError(f"not ready within {_READY_SECONDS:g} s: {words}")
            await asyncio.sleep(0.05)


def _tail(child: Child) -> str:
    lines = child.log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join((f"  log: {child.log}", *(f"  | {line}" for line in lines)))
