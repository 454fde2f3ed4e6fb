"""The command line: a stack of one machine, and a client of one that runs anywhere."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from sandstream import access, address, commands, credentials, dead, moving, serve
from sandstream.client import ApiError, Client, UnreachableError
from sandstream.folder import NoSubmissionError
from sandstream.key import KeyFileError, key_for
from sandstream.replay import NotReplayableError
from sandstream.services import NotSetUpError
from sandstream.settings import StackSettings
from sandstream.stack import StackFailedError
from sandstream.state import NotRunningError, State, StateBusyError
from streams.errors import StreamsError
from streams.server import ServerFailed
from streams.settings import read

_EXPECTED: Final = (
    ApiError,
    UnreachableError,
    KeyFileError,
    NoSubmissionError,
    NotReplayableError,
    NotRunningError,
    NotSetUpError,
    StackFailedError,
    StateBusyError,
    StreamsError,
    ServerFailed,
)


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(prog="sandstream", description=__doc__)
    of = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = of.add_parser("up", help="serve until Ctrl-C")
    up.add_argument("--port", type=int, help="of the API (SANDSTREAM_PORT); 0: any free one")
    of.add_parser("demo", help="run one submission of each kind, live")
    env = of.add_parser("env", help="how a user of the running system reaches its event log")
    env.add_argument("user", choices=credentials.NAMES)
    copying = of.add_parser("copy", help="copy this folder's log to a cluster, sequences and all")
    copying.add_argument("--to", required=True, metavar="URLS", help="its servers")
    copying.add_argument(
        "--secrets", type=Path, metavar="FILE", help="its passwords; without: this folder's"
    )
    remote = argparse.ArgumentParser(add_help=False)
    remote.add_argument("--url", help="the server's address; without: where `up` serves")
    remote.add_argument(
        "--key-file", type=Path, metavar="FILE", help="of the API key (SANDSTREAM_KEY_FILE)"
    )
    submit = of.add_parser("submit", parents=[remote], help="send a folder and watch it run")
    submit.add_argument("folder", type=Path)
    submit.add_argument("--no-cache", dest="cache", action="store_false")
    submit.add_argument("--no-wait", dest="wait", action="store_false", help="print the id alone")
    submit.add_argument("--json", action="store_true", help="the whole object at its end")
    status = of.add_parser("status", parents=[remote], help="show a submission")
    status.add_argument("--json", action="store_true")
    listing = of.add_parser("list", parents=[remote], help="the newest submissions")
    listing.add_argument("--limit", type=int, default=20)
    events = of.add_parser("events", parents=[remote], help="follow a submission's events")
    events.add_argument("--after", type=int, default=0, metavar="SEQUENCE")
    cancel = of.add_parser("cancel", parents=[remote], help="end a submission")
    replay = of.add_parser("replay", parents=[remote], help="run it again and compare")
    given_up = of.add_parser("dead", parents=[remote], help="what we gave up, and why")
    given_up.add_argument("--limit", type=int, default=20)
    retry = of.add_parser("retry", parents=[remote], help="send one that we gave up anew")
    for command in (status, events, cancel, replay, retry):
        command.add_argument("id")
    return top


async def remote(  # noqa: PLR0911 - one return for each command
    asked: argparse.Namespace, url: str, key: str | None, console: Console
) -> int:
    """A command that speaks to a server."""
    async with Client(url, key=key) as client:
        match asked.command:
            case "submit":
                return await commands.submit(
                    client,
                    asked.folder,
                    cache=asked.cache,
                    wait=asked.wait,
                    as_json=asked.json,
                    console=console,
                )
            case "status":
                return await commands.status(client, asked.id, as_json=asked.json, console=console)
            case "list":
                return await commands.listing(client, limit=asked.limit, console=console)
            case "events":
                return await commands.events(client, asked.id, after=asked.after, console=console)
            case "cancel":
                return await commands.cancel(client, asked.id, console=console)
            case "dead":
                return await dead.show(client, limit=asked.limit, console=console)
            case "retry":
                console.print(await client.retry(asked.id))
                return 0
            case _:
                return await commands.replay(client, asked.id, console=console)


async def run(asked: argparse.Namespace, console: Console) -> int:
    """Whatever was asked for; returns the exit status."""
    settings = read(StackSettings)
    state = State(settings.state.resolve())
    match asked.command:
        case "up":
            port = settings.port if asked.port is None else asked.port
            return await serve.up(state, port=port, nats_port=settings.nats_port, console=console)
        case "demo":
            return await serve.show(state, console=console)
        case "env":
            print(access.lines(state, asked.user))
            return 0
        case "copy":
            work = moving.move(state, asked.to, asked.secrets, serve.sayer(console))
            return await serve.until_asked(work)
        case _:
            url = asked.url or address.url(settings.host, settings.port)
            named = settings.model_copy(update={"key_file": asked.key_file or settings.key_file})
            key = key_for(named, ours=asked.url is None)
            return await serve.until_asked(remote(asked, url, key, console))


def main(argv: Sequence[str] | None = None) -> int:
    """Errors that have words for a person end without a traceback."""
    asked = parser().parse_args(argv)
    # Where there is no terminal, a line is as long as what it says.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        return asyncio.run(run(asked, console))
    except _EXPECTED as error:
        words = Text(f"sandstream: {error}", style="red")
        Console(stderr=True, highlight=False).print(words, soft_wrap=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
