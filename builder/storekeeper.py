"""A worker host's store, filled from the builders' caches: `python -m builder.storekeeper`.

Who may use the socket (the folder is root's and the store owner's) sends one line of JSON,
`{"paths": [...], "wait_seconds": 5}`, and gets `{"missing": [...], "why": {path: words}}`: what
is not there now. The rest is valid with all that it refers to, and rooted. Paths are fetched once,
however many ask; nothing is evaluated, and nothing built.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder import nixstore
from builder.collect import Collector, policy_of
from builder.errors import StoreFailed, StoreInUse
from builder.fetched import Fetched
from builder.settings import SharingSettings
from builder.shared import Shared
from egress.settings import NetworkSettings
from init import nix, storestamp
from streams.hoststore import valid
from streams.settings import read

_LOGGER: Final = logging.getLogger("storekeeper")
_SOCKET: Final = Path("/run/store/socket")
_STORE: Final = Path("/nix")
#: For what no cache has yet: a builder may be publishing it just now.
_AGAIN_SECONDS: Final = 0.5
_LINE_BYTES: Final = 4 * 1024 * 1024
#: Before an older version's store is dropped, its users have this time to end.
_UNUSED_SECONDS: Final = 10.0
#: Nix's words for what no waiting mends.
_REFUSED: Final = "not signed by any of the keys"
#: The words that say most, the first of these that there is.
_TELLING: Final = (_REFUSED, "unable to download", "hash mismatch")
_WHY_LETTERS: Final = 300


class BadRequestError(ValueError):
    """Not a request that we know."""


@dataclass(frozen=True, slots=True)
class Asked:
    paths: tuple[str, ...]
    wait_seconds: float


def asked(line: bytes) -> Asked:
    """One request. Raises BadRequestError."""
    try:
        data = json.loads(line)
        paths = tuple(data["paths"])
        wait = float(data.get("wait_seconds", 0.0))
    except (ValueError, TypeError, KeyError) as error:
        raise BadRequestError(f"{line[:200]!r}: {error!r}") from error
    for path in paths:
        if not isinstance(path, str) or not nix.is_store_path(path):
            raise BadRequestError(f"{path!r} is no store path")
    return Asked(paths, wait)


class Storekeeper:
    """Answers requests; one fetch for each path at a time."""

    def __init__(
        self, store: Path, shared: Shared, environment: Mapping[str, str], seconds: float
    ) -> None:
        self._store = store
        self.fetched = Fetched(store)
        self._shared = shared
        self._environment = environment
        self._seconds = seconds
        self._fetches: dict[str, asyncio.Task[str | None]] = {}

    async def prepare(self) -> None:
        """Make an empty store one; drop an older version's. Raises StoreFailed, StoreInUse."""
        if not storestamp.is_stamped(str(self._store)):
            await self._drop()
        self.fetched.make()
        await nixstore.run(["nix-store", "--verify"])

    async def _drop(self) -> None:
        """Nothing that the store has is trusted: keys that are not trusted any more signed it.

        The database goes first: without it no path is valid. The folder of the paths stays, as
        containers mount it. What was dropped is removed behind our back.
        """
        _LOGGER.warning("%s is of an older version: what is in it is dropped", self._store)
        async with self._shared.unused(_UNUSED_SECONDS) as nobody:
            if not nobody:
                raise StoreInUse(self._store)
            var = self._store / "var"
            for tree in (var / "nix", self._shared.environments, self._shared.published):
                if tree.exists():
                    self._shared.aside.put(tree)
            for tree in (self._store / "store").iterdir():
                self._shared.aside.put(tree)
            (var / "nix").mkdir()
            self._shared.make()
            storestamp.stamp(str(self._store))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    request = asked(line)
                except BadRequestError as error:
                    writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
                    break
                why = await self.realise(request)
                answer = {"missing": list(why), "why": why}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError) as error:
            _LOGGER.warning("a connection: %r", error)
        finally:
            writer.close()

    async def realise(self, request: Asked) -> dict[str, str]:
        """Which paths can't be had, and why. A fetch goes on when nobody waits for it any more."""
        deadline = time.monotonic() + request.wait_seconds
        while True:
            words = await asyncio.gather(*(self._have(path) for path in request.paths))
            found = zip(request.paths, words, strict=True)
            missing = {path: why for path, why in found if why is not None}
            hopeless = any(_REFUSED in why for why in missing.values())
            if not missing or hopeless or time.monotonic() + _AGAIN_SECONDS > deadline:
                return missing
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _have(self, path: str) -> str | None:
        task = self._fetches.get(path)
        if task is None:
            task = asyncio.create_task(self._get(path))
            self._fetches[path] = task
            task.add_done_callback(lambda _: self._fetches.pop(path, None))
        return await asyncio.shield(task)

    async def _get(self, path: str) -> str | None:
        """None when the path is there, else why not."""
        async with self._shared.used():
            if not valid(self._store, path):
                began = time.monotonic()
                try:
                    await nixstore.run(
                        nixstore.realise_argv([path], keep_going=False),
                        seconds=self._seconds,
                        environment=self._environment,
                    )
                except StoreFailed as error:
                    _LOGGER.warning("not fetched: %s", error)
                    return reason(error.words)
                _LOGGER.info("fetched %s in %.2f s", path, time.monotonic() - began)
            # in the block: nobody collects between the fetch and its root
            self.fetched.keep(path)
            return None


def reason(words: str) -> str:
    """Why a fetch failed, of all that Nix says of it: the telling line, else the last. Pure."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    telling = (line for words in _TELLING for line in lines if words in line)
    return next(telling, lines[-1] if lines else "no words")[:_WHY_LETTERS]


async def main() -> None:
    settings = read(SharingSettings)
    shared = Shared(_STORE)
    shared.make()
    caches = read(NetworkSettings)
    config = nix.fetch_config(caches.substituters, caches.trusted_public_keys)
    keeper = Storekeeper(_STORE, shared, {"NIX_CONFIG": config}, settings.realise_seconds)
    await keeper.prepare()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    policy = policy_of(settings)
    besides = [asyncio.create_task(shared.aside.serve())]
    if policy.collects:
        collector = Collector(shared, keeper.fetched, _STORE, None, policy)
        besides.append(asyncio.create_task(collector.serve(settings.collect_seconds)))
    server = await asyncio.start_unix_server(keeper.answer, _SOCKET, limit=_LINE_BYTES)
    async with server:
        _LOGGER.info("ready; substituters: %s", caches.substituters or "none")
        await stop.wait()
    for task in besides:
        task.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main())
