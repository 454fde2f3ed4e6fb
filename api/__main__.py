"""`python -m api`: serve HTTP until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from api.connections import config
from api.services import services, tell_of_gaps
from api.settings import ApiSettings
from streams.connection import NatsSettings, connect
from streams.descriptors import raise_limit
from streams.live import live
from streams.settings import read


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn's own way ends the process before the connection is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: ApiSettings, nats: NatsSettings) -> None:
    async with connect(nats, name="api") as client, live(client) as hub:
        own = services(settings, client, hub, timeout=nats.jetstream_timeout_seconds)
        server = _Server(config(own, host=settings.host, port=settings.port))

        def stop() -> None:
            server.should_exit = True
            own.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        gaps = asyncio.create_task(tell_of_gaps(client, hub))
        try:
            await server.serve()
        finally:
            gaps.cancel()
            with suppress(asyncio.CancelledError):
                await gaps


def main() -> int:
    settings = read(ApiSettings)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    raise_limit()
    asyncio.run(serve(settings, read(NatsSettings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
