"""`sandstream up` and `sandstream demo`: a stack that lives as long as the command."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from shlex import quote
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from sandstream.builders import instance
from sandstream.demo import demo
from sandstream.key import key_for
from sandstream.services import SERVICES
from sandstream.settings import StackSettings
from sandstream.stack import Stack, stack
from sandstream.state import State, StateBusyError
from sandstream.supervisor import Say
from streams.settings import read

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED: Final = 130
AUDIT: Final = 'eval "$(.venv/bin/sandstream env auditor)" && .venv/bin/python -m streams replay'
_PASTE: Final = {
    "files": [
        {
            "name": "shell.nix",
            "content": "{ pkgs ? import <nixpkgs> {} }:"
            " pkgs.mkShell { packages = [ pkgs.python3 ]; }",
        },
        {"name": "run.sh", "content": 'python3 -c "print(6 * 7)"'},
    ]
}


def curl(url: str, keys_file: Path | None) -> str:
    """A submission to paste into another terminal; the key stays in its file."""
    header = "Content-Type: application/json"
    key = ""
    if keys_file is not None:
        first = f"$(sed -n '/^ *[^# ]/{{s/.* //p;q}}' {quote(str(keys_file.absolute()))})"
        key = f' -H "Authorization: Bearer {first}"'
    return f"curl -s '{url}/submissions?wait=60'{key} -H '{header}' -d '{json.dumps(_PASTE)}'"


async def until_asked(work: Coroutine[Any, Any, int]) -> int:
    """Run it to its end, or to Ctrl-C or SIGTERM: these cancel it once, so that it cleans up."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    asked = False

    def ask() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, ask)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def sayer(console: Console) -> Say:
    """One line for each happening, with the time of day."""

    def say(words: str) -> None:
        console.print(Text(f"{time.strftime('%H:%M:%S')}  {words}"), soft_wrap=True)

    return say


async def up(state: State, *, port: int, nats_port: int, console: Console) -> int:
    """Serve until asked to stop; being asked is no failure."""

    async def serve() -> int:
        began = time.monotonic()
        console.print(Text("Sandstream is starting ...", style="dim"))
        async with stack(state, port=port, nats_port=nats_port, say=sayer(console)) as running:
            _banner(console, state, running, time.monotonic() - began)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                console.print(Text("Stopping ...", style="dim"))
        return 0

    status = await until_asked(serve())
    console.print(Text("Stopped. The history stays: the next `make up` finds it.", style="dim"))
    return 0 if status == INTERRUPTED else status


def _files(state: State) -> str:
    """Where the processes write; a cluster's servers write elsewhere."""
    names = ",".join(sorted(SERVICES))
    own = "" if read(StackSettings).cluster else f"  {state.nats}/nats.log"
    return f"{state.logs}/{{{names}}}.log{own}"


def _banner(console: Console, state: State, running: Stack, took: float) -> None:
    lines = (
        ("Sandstream ", "bold"), f"serves {running.url}  ", (f"(up in {took:.1f} s)\n", "dim"),
        ("  documentation  ", "dim"), (f"{running.url}/docs\n", ""),
        ("  events         ", "dim"), (f"{running.log.url}\n", ""),
        ("  logs           ", "dim"), (f"{_files(state)}\n", ""),
        ("  builder's      ", "dim"), (f"docker logs {instance(state)}-builder\n", ""),
        ("  audit          ", "dim"), (f"{AUDIT}\n", ""),
        ("  try            ", "dim"), (".venv/bin/sandstream submit examples/cpp\n", ""),
        ("  or paste       ", "dim"), (f"{curl(running.url, read(StackSettings).keys_file)}\n", ""),
        ("  Ctrl-C stops everything; what happens until then stands below.", "dim"),
    )  # fmt: skip
    console.print(Text.assemble(*lines), soft_wrap=True)


async def show(state: State, *, console: Console) -> int:
    """The demo on a stack of its own, or on the one that already runs on this state."""
    key = key_for(read(StackSettings), ours=True)

    async def play() -> int:
        console.print(Text("Starting the whole system ...", style="dim"))
        began = time.monotonic()
        async with stack(state, port=0, nats_port=0, say=sayer(console)) as running:
            took = time.monotonic() - began
            console.print(Text(f"Up in {took:.1f} s at {running.url}.\n", style="dim"))
            status = await demo(running.url, key, console)
            console.print(Text("Stopping it again ...", style="dim"))
        console.print(Text("Stopped. Nothing runs on but the Docker engine.", style="dim"))
        return status

    try:
        return await until_asked(play())
    except StateBusyError as busy:
        if busy.url is None:
            raise
        console.print(Text(f"{busy}. The demo uses that one.\n", style="dim"))
        return await until_asked(demo(busy.url, key, console))
