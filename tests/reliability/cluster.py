"""Three servers as one cluster, in containers of the local image, on a network of their own.

Each keeps its store on this machine's disk, so that it may be killed and started again; one that
is cut off loses the network and nothing else: packets vanish, as when a switch dies.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import docker
from pydantic import SecretStr
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from nix.images import tags
from streams.connection import NatsSettings, connect
from streams.server import passwords
from streams.setup import LogSettings, setup

SIZE = 3
NAMES = tuple(f"n{number}" for number in range(SIZE))
#: Its image can't be pulled everywhere; everything here is removed by its context manager.
testcontainers_config.ryuk_disabled = True


def configuration(name: str, secrets: Path) -> str:
    """What an operator would type, on each host."""
    argv = [
        *(sys.executable, "-m", "streams", "config", "--secrets", str(secrets), "--name", name),
        *("--cluster", "0.0.0.0:6222"),
        *(word for other in NAMES if other != name for word in ("--route", f"{other}:6222")),
    ]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def network_of_our_own() -> Network:
    """With a subnet that is said, so that who comes back may ask for the address that it had.

    The engine finds a free one, and is then told to use it.
    """
    with Network() as found:
        found._unwrap_network.reload()
        subnet = found._unwrap_network.attrs["IPAM"]["Config"][0]["Subnet"]
    pool = docker.types.IPAMPool(subnet=subnet)
    return Network(docker_network_kw={"ipam": docker.types.IPAMConfig(pool_configs=[pool])})


class Cluster:
    """Its servers, by name."""

    def __init__(self, folder: Path, secrets: Path, network: Network) -> None:
        self.secrets = passwords(secrets)
        self._network = network
        self._containers = {name: self._container(folder / name, name, secrets) for name in NAMES}
        self._addresses: dict[str, str] = {}
        self._down: set[str] = set()

    def _container(self, folder: Path, name: str, secrets: Path) -> DockerContainer:
        folder.mkdir()
        (folder / "nats.conf").write_text(configuration(name, secrets))
        return (
            DockerContainer(tags().nats)
            .with_volume_mapping(str(folder), "/data", "rw")
            .with_network(self._network)
            .with_network_aliases(name)
            .with_command("--config /data/nats.conf --log /data/nats.log")
        )

    @property
    def urls(self) -> str:
        return ",".join(map(self._url, NAMES))

    def _url(self, name: str) -> str:
        return f"nats://{self._addresses[name]}:4222"

    def create(self, cleanup: ExitStack) -> None:
        for name, container in self._containers.items():
            cleanup.enter_context(container)
            self._addresses[name] = self._address(name)
            # Once more, so that the address is its own through every start.
            self._network._unwrap_network.disconnect(self._handle(name))
            self._connect(name)

    def _address(self, name: str) -> str:
        handle = self._handle(name)
        handle.reload()
        found: str = handle.attrs["NetworkSettings"]["Networks"][self._network.name]["IPAddress"]
        return found

    def _handle(self, name: str):
        return self._containers[name].get_wrapped_container()

    async def start(self, name: str) -> None:
        await asyncio.to_thread(self._handle(name).start)
        self._down.discard(name)

    async def stop(self, name: str) -> None:
        self._down.add(name)
        await asyncio.to_thread(self._handle(name).stop)

    async def kill(self, name: str) -> None:
        self._down.add(name)
        await asyncio.to_thread(self._handle(name).kill)

    async def cut_off(self, name: str) -> None:
        """From the other servers and from every client."""
        self._down.add(name)
        inner = self._network._unwrap_network
        await asyncio.to_thread(inner.disconnect, self._handle(name))

    async def join_again(self, name: str) -> None:
        await asyncio.to_thread(self._connect, name)
        self._down.discard(name)

    def _connect(self, name: str) -> None:
        where = {"aliases": [name], "ipv4_address": self._addresses[name]}
        self._network._unwrap_network.connect(self._handle(name), **where)

    def settings(self, user: str) -> NatsSettings:
        password = SecretStr(self.secrets[user])
        return NatsSettings(nats_url=self.urls, nats_user=user, nats_password=password)

    def connect(self, user: str):
        return connect(self.settings(user), name=f"test-{user}")

    async def leader(self, *, other_than: str = "") -> str:
        """The name of the server that leads the log's stream."""
        while True:
            found = await self._state()
            if found is not None and found.leader not in {None, "", other_than}:
                return found.leader
            await asyncio.sleep(0.2)

    async def in_step(self, seconds: float = 60) -> None:
        """Until every replica has what the leader has: only then may the next one go."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self._state()
                peers = (found and found.replicas) or []
                if len(peers) == SIZE - 1 and all(p.current and not p.lag for p in peers):
                    return
                await asyncio.sleep(0.2)

    async def _state(self):
        """What one that can be reached knows of the stream's servers; None: nothing just now."""
        up = ",".join(self._url(name) for name in NAMES if name not in self._down)
        settings = self.settings("admin").model_copy(update={"nats_url": up})
        with suppress(Exception):
            async with asyncio.timeout(5), connect(settings, name="test-admin") as admin:
                return (await admin.jetstream(timeout=1).stream_info("SUBMISSIONS")).cluster


@asynccontextmanager
async def cluster(folder: Path, secrets: Path, *, made: bool = True) -> AsyncIterator[Cluster]:
    """Running servers; `made`: with our streams in three copies, and leases of 2 s."""
    async with AsyncExitStack() as cleanup:
        blocking = cleanup.enter_context(ExitStack())
        blocking.enter_context(network := network_of_our_own())
        servers = Cluster(folder, secrets, network)
        await asyncio.to_thread(servers.create, blocking)
        if made:
            async with servers.connect("admin") as admin:
                await setup(admin, LogSettings(replicas=SIZE, lease_seconds=2))
        yield servers


os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
