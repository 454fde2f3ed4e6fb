"""The real API on a free port, in this process, over the real NATS server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import uvicorn

from api.connections import config
from api.schema import EXAMPLE
from api.services import services, tell_of_gaps
from api.settings import ApiSettings
from streams.live import live
from streams.log import EventLog


class Api:
    """A client of the running API, and the log below it."""

    def __init__(self, client, services_, nats):
        self.client = client
        self.services = services_
        self.log = services_.log
        self.nats = nats

    async def post(self, body=None, **kwargs):
        return await self.client.post("/submissions", json=body or EXAMPLE, **kwargs)

    async def send(self, path, content, **kwargs):
        """A POST of bytes that are said to be JSON, whatever they are."""
        headers = {"Content-Type": "application/json"} | kwargs.pop("headers", {})
        return await self.client.post(path, content=content, headers=headers, **kwargs)

    async def new(self, **fields):
        answer = await self.post(EXAMPLE | fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def get(self, path, **kwargs):
        return await self.client.get(path, **kwargs)

    @asynccontextmanager
    async def says(self, user):
        """A log as another service writes it."""
        async with self.nats.connect(user) as client:
            yield EventLog(client)


@asynccontextmanager
async def running(nats, **settings):
    """`a` is a name of it too, for whoever writes requests by hand."""
    # whatever this machine's memory, the maxima of limits are those that are declared
    usual = {"log_level": "warning", "allowed_hosts": "a", "memory_budget_bytes": 2**40}
    settings = ApiSettings(port=0, **usual | settings)
    async with nats.connect("api") as client, live(client) as hub:
        own = services(settings, client, hub, timeout=2.0)
        server = uvicorn.Server(config(own, host="127.0.0.1", port=0))
        server.install_signal_handlers = lambda: None
        task = asyncio.create_task(server._serve())
        gaps = asyncio.create_task(tell_of_gaps(client, hub))
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
                yield Api(http, own, nats)
        finally:
            gaps.cancel()
            server.should_exit = True
            await task
