"""Environments signed and copied to a binary cache, behind the builds' back.

On one host nobody needs the copy, so no submission waits for it: `deps-built` comes first. A
worker of another host that is faster asks again, and builds for itself when that does not help.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from builder import nixstore
from builder.errors import StoreFailed
from builder.shared import Shared
from init import storestamp
from streams import files

_LOGGER: Final = logging.getLogger(__name__)
_COPY_SECONDS: Final = 1800.0
_AGAIN_SECONDS: Final = (1.0, 5.0, 30.0)
KEYS: Final = "keys"
#: The same as of the store: a new store comes with a new key (`init/storestamp.py`).
_GENERATION: Final = storestamp.VERSION


class Publisher:
    """Signs what was built and copies it to `to`, one environment after the other.

    `secret` is readable by the store's owner alone, and no jail has it. With an empty `to` paths
    are only signed, for a server that takes them from the store (nix-serve, harmonia).
    """

    def __init__(self, name: str, folder: Path, to: str, shared: Shared) -> None:
        self._shared = shared
        #: The generation is a part of the key's name: who trusts the older key trusts nothing new.
        self._name = f"{name}-{_GENERATION}"
        self._older = (name, folder)
        self.secret = folder / f"cache-key-{_GENERATION}.secret"
        self.public = folder / f"cache-key-{_GENERATION}.public"
        self._to = to
        #: One empty file for each path that a cache has which can't be looked into.
        self._notes = shared.published / hashlib.sha256(to.encode()).hexdigest()[:16]
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    async def prepare(self) -> str:
        """Make the key, if there is none yet; the public one. Raises StoreFailed."""
        self._drop_older()
        if not self.secret.exists():
            fresh = self.secret.with_suffix(".new")
            await nixstore.run(nixstore.key_argv(self._name, fresh, self.public))
            fresh.chmod(0o400)
            fresh.replace(self.secret)  # last: a life that was cut short makes both again
        key = self.public.read_text()
        self._show(key)
        return key

    def soon(self, path: str) -> None:
        self._note(path).unlink(missing_ok=True)
        self._queue.put_nowait(path)

    def resume(self, built: Iterable[str]) -> None:
        """Of all that was built, what an earlier life has not published: cut short, or in vain."""
        noted = set(self._notes.glob("*"))  # first: what is noted from here on stays noted
        for path in set(built):
            noted.discard(self._note(path))
            if self.lacks(path):
                self.soon(path)
        for note in noted:  # of what was collected
            note.unlink(missing_ok=True)

    def lacks(self, path: str) -> bool:
        """Whether the cache does not have it: seen in one of files, else by our own note."""
        if not self._to:
            return False
        if (folder := files_of(self._to)) is not None:
            return not (folder / f"{_hash(path)}.narinfo").exists()
        return not self._note(path).exists()

    async def serve(self) -> None:
        """For ever: what `soon` has brought. What fails is tried again, then at the next start."""
        while True:
            path = await self._queue.get()
            for seconds in (*_AGAIN_SECONDS, None):
                try:
                    async with self._shared.used():
                        await self._publish(path)
                    break
                except (StoreFailed, OSError) as error:  # a full disk, no room for a process
                    _LOGGER.warning("not published: %s", error)
                    if seconds is not None:
                        await asyncio.sleep(seconds)

    async def _publish(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await nixstore.run(nixstore.sign_argv(path, self.secret))
        if self._to:
            argv = nixstore.publish_argv(path, destination(self._to, self.secret))
            await nixstore.run(argv, seconds=_COPY_SECONDS)
            if files_of(self._to) is None:
                self._notes.mkdir(parents=True, exist_ok=True)
                self._note(path).touch()
            _LOGGER.info("published %s in %.2f s", path, loop.time() - began)

    def _note(self, path: str) -> Path:
        return self._notes / _hash(path)

    def _drop_older(self) -> None:
        """Remove the key of builders before version 2: it has signed what builds had rewritten."""
        name, folder = self._older
        for suffix in ("secret", "public", "new"):
            (folder / f"cache-key.{suffix}").unlink(missing_ok=True)
        if (cache := files_of(self._to)) is not None:
            (cache / KEYS / f"{name}.pub").unlink(missing_ok=True)

    def _show(self, key: str) -> None:
        """The public key beside what it signs, for who sets up another host.

        Whole or not at all: half a key is a key that has signed nothing.
        """
        if (cache := files_of(self._to)) is not None:
            shown = cache / KEYS / f"{self._name}.pub"
            shown.parent.mkdir(parents=True, exist_ok=True)
            files.replace(shown, key.encode())


def _hash(path: str) -> str:
    """Of a store path: by that a cache names it."""
    return path.split("/")[3][:32]


def files_of(to: str) -> Path | None:
    """The folder of a cache of files."""
    if not to.startswith("file://"):
        return None
    return Path(to.removeprefix("file://").partition("?")[0])


def destination(to: str, secret: Path) -> str:
    """The store's URL with our key, and a compression that costs little; what it says goes first.

    A daemon's or ssh store signs nothing: there the signatures of our own store go along.
    """
    if not to.startswith(("file://", "s3://", "http://", "https://")):
        return to
    url, _, query = to.partition("?")
    given = {pair.partition("=")[0] for pair in query.split("&")}
    ours = {"compression": "zstd", "secret-key": str(secret)}
    more = urlencode({key: value for key, value in ours.items() if key not in given}, safe="/")
    return f"{url}?{'&'.join(part for part in (query, more) if part)}"
