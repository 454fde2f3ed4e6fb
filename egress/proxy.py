"""An HTTP proxy on a Unix socket, which connects to what the rules name and to nothing else.

Whoever may use the socket may reach that much. The address that was checked is the address that
is connected to, so that a name can't change its mind in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from egress import requests, rules
from egress.rules import Rule

_LOGGER: Final = logging.getLogger(__name__)
_HEAD_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 15.0
_RESOLVE_SECONDS: Final = 15.0
#: Threads of a job that ask for names: with `*.domain` a build can ask for many, all slow ones, and
#: the process's own threads have other work.
_RESOLVERS: Final = 4
_AT_ONCE: Final = 64
_CHUNK_BYTES: Final = 64 * 1024
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

#: Addresses of a name, in the order in which they are tried. Raises OSError.
Resolve = Callable[[str, int], Awaitable[list[str]]]


class RefusedError(Exception):
    """The answer to a client that gets nothing else."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def resolve(threads: Executor, host: str, port: int) -> list[str]:
    """Ask the host's resolver. Raises OSError, also for what is no name at all."""
    loop = asyncio.get_running_loop()
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.run_in_executor(threads, ask)
    except TimeoutError as error:
        raise OSError(f"no address within {_RESOLVE_SECONDS:g} s") from error
    except UnicodeError as error:
        raise OSError(f"{host!r} is no name") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Proxy:
    """Serves one job's connections; `who` names the job in the log."""

    def __init__(self, allowed: tuple[Rule, ...], who: str, resolve: Resolve) -> None:
        self._allowed = allowed
        self._who = who
        self._resolve = resolve
        self._open = 0
        self._refused: set[tuple[str, int]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to its end."""
        self._open += 1
        try:
            with suppress(OSError):
                await self._serve(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = await self._request(reader)
            far_reader, far_writer = await self._connected(target.host, target.port)
        except RefusedError as error:
            writer.write(requests.answer(error.status, str(error)))
            await writer.drain()
            return
        try:
            if target.head:
                far_writer.write(target.head)
            else:
                writer.write(_ESTABLISHED)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far_writer))
                both.create_task(_pump(far_reader, writer))
        except* OSError:
            pass  # either side may leave, or be lost, at any time
        finally:
            far_writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> requests.Target:
        """Read a request's head. Raises RefusedError."""
        if self._open > _AT_ONCE:
            raise RefusedError(503, f"more than {_AT_ONCE} connections at the same time")
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(requests.END)
            return requests.read(head.removesuffix(requests.END))
        except TimeoutError:
            raise RefusedError(400, f"no request within {_HEAD_SECONDS:g} s") from None
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise RefusedError(400, "the request has no end") from error
        except requests.BadRequestError as error:
            raise RefusedError(400, str(error)) from error

    async def _connected(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a host that may be reached. Raises RefusedError."""
        rule = rules.rule_for(self._allowed, host, port)
        if rule is None:
            raise self._refuse(host, port, "is not allowed: SANDSTREAM_DEPENDENCIES_ALLOW")
        known = rules.known(rule, host)
        try:
            found = [known] if known else await self._resolve(host, port)
        except OSError as error:
            raise RefusedError(502, f"{host}:{port}: {error}") from error
        usable = [address for address in found if rules.may_be_at(rule, address)]
        if not usable:
            words = f"is at {', '.join(found)}, which is no address of the public internet"
            raise self._refuse(host, port, words)
        why: OSError | None = None
        for address in usable:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection(address, port, limit=_CHUNK_BYTES)
            except OSError as error:  # TimeoutError is one
                why = error
        raise RefusedError(502, f"{host}:{port} does not answer: {why or 'timed out'}")

    def _refuse(self, host: str, port: int, words: str) -> RefusedError:
        """Say it once in our log: an administrator may want to allow it."""
        if (host, port) not in self._refused and len(self._refused) < _AT_ONCE:
            self._refused.add((host, port))
            _LOGGER.warning("%s: %.100s:%d %s", self._who, host, port, words)
        return RefusedError(403, f"{host}:{port} {words}")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def serving(
    path: Path, allowed: tuple[Rule, ...], who: str, *, owner: int | None = None
) -> AsyncIterator[None]:
    """Listen at `path` for the block, for `owner` (a uid; by default ours) alone.

    Without a rule there is no socket at all. Raises OSError.
    """
    if not allowed:
        yield
        return
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before it has a name: nobody else is ever let in
        # a path of a socket may have 107 bytes, and a state folder can lie deeper
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        if owner is not None:
            os.chown(path, owner, owner)
    except BaseException:
        listener.close()
        raise
    threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
    proxy = Proxy(allowed, who, partial(resolve, threads))
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_unix_server(connected, sock=listener, limit=requests.HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        threads.shutdown(wait=False, cancel_futures=True)
        path.unlink(missing_ok=True)
