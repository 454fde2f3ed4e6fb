"""`python -m projector` keeps the read model up to date; `… rebuild` makes it again."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import suppress

from projector.rebuild import rebuild
from projector.service import serve
from streams.connection import NatsSettings, connect
from streams.descriptors import raise_limit
from streams.errors import LogUnavailable
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import reached, woken
from streams.settings import read


async def _serve() -> None:
    settings = read(NatsSettings)
    async with connect(settings, name="projector") as client, woken(client) as wake:
        log = EventLog(client, timeout=settings.jetstream_timeout_seconds)
        stop = asyncio.Event()
        task = asyncio.create_task(serve(log, ReadModel(client), wake, stop))

        def end() -> None:
            stop.set()
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        with suppress(asyncio.CancelledError):
            await task


async def _rebuild() -> int:
    settings = read(NatsSettings)
    async with reached(settings, name="projector-rebuild") as client:
        log = EventLog(client, timeout=settings.jetstream_timeout_seconds)
        report = await rebuild(client, log, ReadModel(client))
    print("\n".join(report.lines()))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m projector", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "rebuild"),
        help="serve (default): follow the log; rebuild: from sequence 1, then switch",
    )
    command = parser.parse_args().command
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    raise_limit()
    if command == "serve":
        asyncio.run(_serve())
        return 0
    try:
        return asyncio.run(_rebuild())
    except LogUnavailable as error:
        print(f"rebuild: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
