"""`python -m worker.buildpool SOCKET OWNER`: containers for a builder's jobs, one job each.

A builder has neither Docker nor a uid to spare. This process has both, and knows nothing of
shells: whoever connects to SOCKET (a file of uid OWNER's) has a fresh container for as long as the
connection lasts, and talks to its init in frames. At the end the container is removed with all
that the job left: its processes, its folders, its cgroups; and only then its uid is free again.

It lives for as long as its stdin is open, so it ends with whoever started it, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from egress.settings import NetworkSettings
from init.frames import Broken, Build, End, Frame
from init.wire import Decoder, FrameError, encode
from streams.settings import read
from worker.container import Container
from worker.engine import engine
from worker.errors import AttemptFailed, NameTaken, WorkerError
from worker.leftovers import kept_clean
from worker.locks import alone
from worker.pool import Pool
from worker.settings import BuildPoolSettings
from worker.spec import Plan
from worker.store import HostStore, reach
from worker.uids import Uids, claim

_LOGGER: Final = logging.getLogger("buildpool")
_CHUNK: Final = 1024 * 1024
#: So many builders of one state folder can have a pool of their own on one host.
_POOLS: Final = 16
#: A build says nothing while it runs; the builder has its clock, and goes away when it is over.
_PATIENCE_SECONDS: Final = 24 * 3600.0


class Jobs:
    """Gives each connection a container."""

    def __init__(self, pool: Pool[Container], store: HostStore) -> None:
        self._pool = pool
        self._store = store

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end. Our own faults are told as `Broken`."""
        try:
            await self._job(reader, writer)
        except (AttemptFailed, FrameError, OSError, sqlite3.Error) as error:
            _LOGGER.warning("a job was lost: %s", error)
            with suppress(OSError):
                writer.write(encode(Broken(str(error) or repr(error))))
                await writer.drain()
        finally:
            writer.close()

    async def _job(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = _Frames(reader)
        build = await frames.next()
        if build is None:
            return
        if not isinstance(build, Build):
            raise FrameError(f"a {type(build).__name__} instead of a build")
        async with AsyncExitStack() as stack:
            taking = asyncio.ensure_future(stack.enter_async_context(self._pool.take()))
            gone = asyncio.ensure_future(frames.next())
            # who is gone, or says that he wants no more of it, waits for no container
            await asyncio.wait((taking, gone), return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                taking.cancel()
                with suppress(asyncio.CancelledError):
                    await taking
                gone.cancel()
                return
            box = taking.result()
            stack.push_async_callback(box.kill)
            what = self._store.for_build(box.scratch, box.uid, f"build {build.name}")
            await stack.enter_async_context(what)
            await box.send(build)
            await _relay(box, frames, gone, writer)


class _Frames:
    """What the builder says, frame by frame; None at its end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._decoder = Decoder()
        self._waiting: list[Frame] = []

    async def next(self) -> Frame | None:
        while not self._waiting:
            data = await self._reader.read(_CHUNK)
            if not data:
                return None
            self._waiting.extend(self._decoder.feed(data))
        return self._waiting.pop(0)


async def _relay(
    box: Container,
    frames: _Frames,
    first: asyncio.Future[Frame | None],
    writer: asyncio.StreamWriter,
) -> None:
    """Both directions, until init has said its last word or the builder is gone."""

    async def down() -> None:
        frame = await first
        while frame is not None:
            await box.send(frame)
            frame = await frames.next()

    async def up() -> None:
        async for frame in box.frames(_PATIENCE_SECONDS):
            writer.write(encode(frame))
            await writer.drain()
            if isinstance(frame, End):
                return

    tasks = [asyncio.create_task(one()) for one in (down, up)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plan(settings: BuildPoolSettings, name: str) -> Plan:
    """What all containers of this pool have in common."""
    return Plan(
        worker=name,
        instance=secrets.token_hex(4),
        image=settings.runner_image,
        state=settings.state.absolute(),
        scratch=settings.state.absolute() / "worker" / name / "scratch",
        cgroups=settings.cgroups,
        memory_bytes=settings.container_memory_bytes,
        processes=settings.container_processes,
        cpus=settings.container_cpus,
        ready_seconds=settings.container_ready_seconds,
    )


@contextmanager
def named(settings: BuildPoolSettings) -> Iterator[str]:
    """The first name that no living pool of this state folder bears; it is ours for the block.

    Names are few, and each has its uids for good: the one that takes a name over removes what its
    last bearer has left, before it lends a uid.
    """
    with ExitStack() as stack:
        for number in range(_POOLS):
            name = _name(settings, number)
            with suppress(NameTaken):
                stack.enter_context(alone(settings.state.absolute() / "worker" / name))
                yield name
                return
        raise WorkerError(f"{_POOLS} pools of build containers live on {settings.state} already")


async def remove_others(settings: BuildPoolSettings, own: str) -> None:
    """Remove what pools of this state folder have left that were killed, whatever their names.

    With fewer builders than before, nobody takes all the names over.
    """
    for number in range(_POOLS):
        name = _name(settings, number)
        folder = settings.state.absolute() / "worker" / name
        if name == own or not folder.exists():
            continue
        try:
            with suppress(NameTaken), alone(folder):  # taken: that one lives
                async with engine(settings.docker_socket, plan(settings, name)) as host:
                    if removed := await host.remove_leftovers():
                        _LOGGER.warning("%s: removed %d containers it had left", name, removed)
        except WorkerError as error:  # its uids are its own: it stops nobody
            _LOGGER.warning("%s: leftovers: %s", name, error)


def _name(settings: BuildPoolSettings, number: int) -> str:
    return f"{settings.worker_name[:48]}-builds-{number}"


async def live(settings: BuildPoolSettings, socket: Path, owner: int) -> None:
    """Keep containers and serve, until cancelled."""
    async with AsyncExitStack() as stack:
        name = stack.enter_context(named(settings))
        uids = Uids(
            claim(
                settings.state.absolute() / "worker" / ".uids" / str(settings.uid_first),
                name,
                first=settings.uid_first,
                slices=settings.uid_slices,
                size=settings.uid_slice_size,
            )
        )
        host = await stack.enter_async_context(engine(settings.docker_socket, plan(settings, name)))
        await stack.enter_async_context(kept_clean(host))
        await remove_others(settings, name)
        store = HostStore(settings.state.absolute(), None, 0.0, reach(read(NetworkSettings)))
        pool = await stack.enter_async_context(
            Pool(lambda: host.container(uids), size=settings.builder_jobs, starts=1)
        )
        jobs = Jobs(pool, store)
        socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(jobs.serve, socket, limit=4 * _CHUNK)
        os.chown(socket, owner, owner)
        socket.chmod(0o600)
        async with server:
            _LOGGER.info(
                "%s: ready, %d containers of %s", name, settings.builder_jobs, settings.runner_image
            )
            await server.serve_forever()


async def run(settings: BuildPoolSettings, socket: Path, owner: int) -> None:
    """Live until SIGTERM, SIGINT, or the end of stdin."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin, stop.set)
    living = asyncio.create_task(live(settings, socket, owner))
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait((living, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    living.cancel()
    with suppress(asyncio.CancelledError):
        await living


def main() -> None:
    settings = read(BuildPoolSettings)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        asyncio.run(run(settings, Path(sys.argv[1]), int(sys.argv[2])))
    except WorkerError as error:
        sys.exit(f"buildpool: {error}")


if __name__ == "__main__":
    main()
