"""The containers around a store: the Docker API for what `make up` starts.

What each is stands in `plans.py`. The host's part is done here, as root: folders with their
owners, and each container's share of the cgroup tree.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from init.delegation import delegate
from init.wire import encode
from sandstream.buildpool import BuildPool, PoolDiedError, build_pool
from sandstream.plans import (
    BUILDER_UID,
    BuilderStack,
    builder_config,
    cache_config,
    storekeeper_config,
)
from streams import files

_STOP_SECONDS: Final = 15
_READY_SECONDS: Final = 30.0


class ContainerDiedError(Exception):
    """A container of ours ended by itself; `log` holds its last words."""

    def __init__(self, name: str, status: int | None, log: str) -> None:
        super().__init__(f"container {name} ended with {status}; its last words:\n{log}")
        self.name = name
        self.status = status
        self.log = log


@dataclass(frozen=True, slots=True)
class Running:
    """One running container."""

    name: str
    pid: int
    _handle: DockerContainer

    @property
    def id(self) -> str:
        return self._handle.id

    async def died(self) -> ContainerDiedError:
        """Wait until it ends; what to raise or say then."""
        status = (await self._handle.wait())["StatusCode"]
        return ContainerDiedError(self.name, status, await self.log())

    async def log(self, lines: int = 50) -> str:
        return "".join(await self._handle.log(stdout=True, stderr=True, tail=lines))

    async def kill(self) -> None:
        """As a crash would end it."""
        await self._handle.kill()


@dataclass(frozen=True, slots=True)
class Pair:
    """A builder, and the pool of its build containers."""

    builder: Running
    pool: BuildPool

    async def died(self) -> Exception:
        """Wait until either ends: neither is of use without the other."""
        tasks: list[asyncio.Task[Exception]] = [
            asyncio.create_task(self.builder.died()),
            asyncio.create_task(self.pool.died()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def prepare(stack: BuilderStack) -> None:
    """Folders with their owners; the sockets of an earlier life are gone."""
    shutil.rmtree(stack.run, ignore_errors=True)
    stack.run.mkdir(parents=True)
    _prepare_store(stack)
    for folder, uid in (
        (stack.own, BUILDER_UID),
        (stack.cache, BUILDER_UID),
        (stack.run / "jobs", BUILDER_UID),
    ):
        _folder(folder, uid)
    # the signing key, and the sockets of the trusted side, are the builder's own business
    stack.own.chmod(0o700)
    (stack.run / "jobs").chmod(0o700)


def _prepare_store(stack: BuilderStack) -> None:
    """An empty store is one, too."""
    nix = stack.state.absolute() / "nix"
    for folder in (nix, nix / "store", nix / "var", nix / "var/nix"):
        if not folder.exists():
            _folder(folder, BUILDER_UID)


def _folder(folder: Path, uid: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    os.chown(folder, uid, uid)


@asynccontextmanager
async def builder_pair(stack: BuilderStack) -> AsyncIterator[Pair]:
    """The builder runs and its pool of build containers listens; at the end both are gone.

    What an earlier life of this instance left is removed first. Raises ContainerDiedError,
    PoolDiedError, or DockerError when the engine refuses.
    """
    async with AsyncExitStack() as cleanup:
        docker, stack = await _engine(cleanup, stack)
        await _remove_left(docker, "builder", stack.instance)
        prepare(stack)
        pool = await cleanup.enter_async_context(build_pool(stack))
        builder = await cleanup.enter_async_context(
            _started(docker, f"{stack.instance}-builder", builder_config(stack))
        )
        _delegate(stack, "delegated", builder, BUILDER_UID)
        if stack.cache_listen:
            await cleanup.enter_async_context(cache_server(stack))
        pair = Pair(builder, pool)
        await _listening(stack.pool, pair)
        yield pair


@asynccontextmanager
async def cache_server(stack: BuilderStack) -> AsyncIterator[Running]:
    """The store's binary cache is served at `cache_listen`, with or without a builder."""
    async with AsyncExitStack() as cleanup:
        docker, stack = await _engine(cleanup, stack)
        await _remove_left(docker, "cache", stack.instance)
        name = f"{stack.instance}-cache"
        yield await cleanup.enter_async_context(_started(docker, name, cache_config(stack)))


@asynccontextmanager
async def storekeeper(stack: BuilderStack) -> AsyncIterator[Running]:
    """A worker host's store is fetched into; removed at the end. Raises as `builder_pair` does."""
    async with AsyncExitStack() as cleanup:
        docker, stack = await _engine(cleanup, stack)
        await _remove_left(docker, "store", stack.instance)
        shutil.rmtree(stack.store_run, ignore_errors=True)
        _prepare_store(stack)
        _folder(stack.store_run, BUILDER_UID)
        stack.store_run.chmod(0o700)
        running = await cleanup.enter_async_context(
            _started(docker, f"{stack.instance}-store", storekeeper_config(stack))
        )
        await _listening(stack.store_run / "socket", running)
        yield running


async def _engine(
    cleanup: AsyncExitStack, stack: BuilderStack
) -> tuple[aiodocker.Docker, BuilderStack]:
    """The engine, and the stack as it has to be there."""
    docker = await cleanup.enter_async_context(aiodocker.Docker())
    info = await docker.system.info()
    options = info.get("SecurityOptions") or []
    return docker, replace(stack, apparmor=any("name=apparmor" in one for one in options))


@asynccontextmanager
async def _started(
    docker: aiodocker.Docker, name: str, config: dict[str, Any]
) -> AsyncIterator[Running]:
    handle = await docker.containers.create(config, name=name)
    try:
        await handle.start()
        shown = await handle.show()
        yield Running(name, shown["State"]["Pid"], handle)
    finally:
        await _end(handle)


async def _end(handle: DockerContainer) -> None:
    try:
        await handle.stop(t=_STOP_SECONDS)
    except DockerError as error:
        if error.status not in {304, 404}:  # not running; gone
            raise
    try:
        await handle.delete(force=True, v=True)
    except DockerError as error:
        if error.status != 404:  # noqa: PLR2004
            raise


async def _remove_left(docker: aiodocker.Docker, role: str, instance: str) -> None:
    labels = [f"sandstream.role={role}", f"sandstream.instance={instance}"]
    found = await docker.containers.list(all=1, filters=json.dumps({"label": labels}))
    for handle in found:
        await handle.delete(force=True, v=True)


def _delegate(stack: BuilderStack, file: str, running: Running, uid: int) -> None:
    """Tell a container its cgroups: a file that appears whole."""
    if running.pid == 0:
        return  # it has ended already; `_listening` tells why
    files.replace(stack.run / file, encode(delegate(running.pid, uid)))


async def _listening(socket: Path, container: Pair | Running) -> None:
    """Until the socket is there. Raises ContainerDiedError."""
    died: asyncio.Task[Exception] = asyncio.create_task(container.died())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_SECONDS
    try:
        while not socket.exists():
            if died.done():
                raise died.result()
            if loop.time() > deadline:
                if isinstance(container, Pair):
                    raise PoolDiedError(None, container.pool.log)
                raise ContainerDiedError(container.name, None, await container.log())
            await asyncio.sleep(0.02)
    finally:
        died.cancel()
        await asyncio.gather(died, return_exceptions=True)
