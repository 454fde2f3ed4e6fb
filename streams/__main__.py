"""The log for who keeps it: set up, replayed, copied, archived, tidied; a cluster's servers."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from streams import events
from streams.archiving import archive
from streams.audit import Replay, as_json, held_against, line
from streams.connection import NatsSettings
from streams.copying import copy
from streams.errors import ArchiveRefused, StreamsError, Undecodable
from streams.events import AnyEvent
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import reached, read_all
from streams.rights import ADMIN
from streams.server import Cluster, ServerConfig, passwords
from streams.settings import read
from streams.setup import LogSettings, setup
from streams.shelf import events_in, first_of
from streams.tidying import tidy


async def _setup(_arguments: argparse.Namespace) -> int:
    settings = read(LogSettings)
    async with reached(read(NatsSettings), name="setup") as client:
        await setup(client, settings)
    print("stream, queues and buckets are there")
    return 0


async def _copy(arguments: argparse.Namespace) -> int:
    """0: everything is there. 3: it is, but the source is still in use."""
    here, settings = read(NatsSettings), read(LogSettings)
    there = here.model_copy(update={"nats_url": arguments.to})
    if arguments.secrets is not None:
        password = SecretStr(passwords(arguments.secrets)[ADMIN])
        there = there.model_copy(update={"nats_user": ADMIN, "nats_password": password})
    async with reached(here, name="copy") as source, reached(there, name="copy") as target:
        report = await copy(source, target, settings, print)
    print("\n".join(report.lines()))
    return 3 if report.in_use else 0


async def _archive(arguments: argparse.Namespace) -> int:
    kept, now = read(LogSettings).keep_days, events.now()
    latest = now - timedelta(days=kept)
    before = arguments.before or latest
    if not kept:
        raise ArchiveRefused("SANDSTREAM_KEEP_DAYS is 0: everything stays for ever")
    if before > latest:
        raise ArchiveRefused(f"SANDSTREAM_KEEP_DAYS={kept}: all from {latest:%Y-%m-%d} on stays")
    async with reached(read(NatsSettings), name="archive") as client:
        await archive(client, arguments.folder, before, arguments.period, print)
        print((await tidy(client)).line())
    return 0


async def _tidy(_arguments: argparse.Namespace) -> int:
    async with reached(read(NatsSettings), name="tidy") as client:
        print((await tidy(client)).line())
    return 0


def _replay_files(arguments: argparse.Namespace) -> int:
    """Without any server. 0: the files are what they were, and follow each other."""
    replay = Replay(cut=min(map(first_of, arguments.archive)) > 1)
    for item in events_in(arguments.archive):
        if arguments.id and getattr(item, "submission_id", None) != arguments.id:
            continue
        replay.add(item)
        _show(item, arguments)
    print("\n".join(replay.lines()), file=sys.stderr if arguments.json else sys.stdout)
    return 1 if replay.damaged else 0


def _show(item: AnyEvent | Undecodable, arguments: argparse.Namespace) -> None:
    if item.sequence < arguments.first or arguments.quiet:
        return
    if arguments.last is not None and item.sequence > arguments.last:
        return
    print(orjson.dumps(as_json(item)).decode() if arguments.json else line(item))


def _config(arguments: argparse.Namespace) -> int:
    host, _, port = arguments.listen.rpartition(":")
    cluster = None
    if arguments.cluster:
        cluster = Cluster(arguments.cluster, tuple(arguments.route))
    config = ServerConfig(
        folder=arguments.folder,
        passwords=passwords(arguments.secrets),
        host=host,
        port=int(port),
        name=arguments.name,
        cluster=cluster,
    )
    print(config.text())
    return 0


async def _replay(arguments: argparse.Namespace) -> int:
    """0: the read model agrees (or is behind); 1: it differs, or the log is damaged."""
    settings = read(NatsSettings)
    async with reached(settings, name="replay") as client:
        log = EventLog(client, timeout=settings.jetstream_timeout_seconds)
        generation = await ReadModel(client).live()
        checkpoint = await generation.checkpoint()
        subject = events.guard(arguments.id) if arguments.id else ">"
        replay = Replay(cut=(await log.extent()).first > 1)
        # Folding begins at the beginning, whatever is shown: half a story has no state.
        async for item in read_all(log, subject=subject, upto=arguments.last):
            replay.add(item)
            _show(item, arguments)
        if arguments.id and not replay.states:
            print(f"there is no event of {arguments.id}", file=sys.stderr)
            return 1
        verdict = await held_against(generation, replay.states.values(), checkpoint)
    report = [*replay.lines(), *verdict.lines()]
    # With --json the events alone stand on stdout, so that a program can read them.
    print("\n".join(report), file=sys.stderr if arguments.json else sys.stdout)
    return 0 if verdict.sound and not replay.damaged else 1


def _date(text: str) -> datetime:
    """A date or a time; by UTC where it does not say."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m streams", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="make or update stream, queues and buckets (as admin)")
    replay = commands.add_parser(
        "replay", help="print events in order, fold them again, compare with the read model"
    )
    replay.add_argument("--id", help="only this submission")
    replay.add_argument(
        "--from", dest="first", type=int, default=0, metavar="SEQ", help="print from here on"
    )
    replay.add_argument(
        "--to", dest="last", type=int, default=None, metavar="SEQ", help="read no further"
    )
    replay.add_argument(
        "--archive",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="files of the archive instead of the log: are they what they were, what do they say",
    )
    replay.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    replay.add_argument("--quiet", action="store_true", help="print the comparison alone")
    copying = commands.add_parser(
        "copy", help="copy this log to other servers, sequences and all (as admin); safe to repeat"
    )
    copying.add_argument("--to", required=True, metavar="URLS", help="servers, comma-separated")
    copying.add_argument(
        "--secrets", type=Path, metavar="FILE", help="their passwords; without: the same as here"
    )
    archiving = commands.add_parser(
        "archive", help="old periods out of the log and into files (as admin); safe to repeat"
    )
    archiving.add_argument("--folder", type=Path, required=True, help="where the files go")
    archiving.add_argument(
        "--before",
        type=_date,
        metavar="DATE",
        help="periods that are over by then; without: SANDSTREAM_KEEP_DAYS ago",
    )
    archiving.add_argument(
        "--period", choices=("day", "month"), default="month", help="that a file holds (month)"
    )
    commands.add_parser(
        "tidy", help="remove blobs that no event names (as admin); run it twice, an hour apart"
    )
    config = commands.add_parser(
        "config", help="print a server's configuration, with every user's rights and password"
    )
    config.add_argument(
        "--secrets", type=Path, required=True, metavar="FILE", help="passwords; made when missing"
    )
    config.add_argument("--name", default="sandstream", help="of the server, its own in a cluster")
    config.add_argument("--listen", default="0.0.0.0:4222", metavar="ADDRESS:PORT")
    config.add_argument("--folder", type=Path, default=Path("/data"), help="where it keeps the log")
    config.add_argument("--cluster", metavar="ADDRESS:PORT", help="where the others reach it")
    config.add_argument(
        "--route", action="append", default=[], metavar="HOST:PORT", help="each of the others"
    )
    return made


def _run(arguments: argparse.Namespace) -> int:
    works: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "setup": _setup,
        "copy": _copy,
        "archive": _archive,
        "replay": _replay,
        "tidy": _tidy,
    }
    if arguments.command == "config":
        return _config(arguments)
    if arguments.command == "replay" and arguments.archive:
        return _replay_files(arguments)
    return asyncio.run(works[arguments.command](arguments))


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return _run(arguments)
    except StreamsError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
