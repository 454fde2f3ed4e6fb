"""Environments that nobody asks for any more go, and then what no root needs."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from builder import nixstore
from builder.catalogue import Used
from builder.errors import StoreFailed
from builder.jobs import put_roots_aside
from builder.settings import SharingSettings
from builder.shared import Shared

_LOGGER: Final = logging.getLogger(__name__)
_COLLECT_SECONDS: Final = 600.0
#: New work waits behind a collector that waits: first not for longer than this, and twice as long
#: after each time in a row that was in vain. A full disk would stop everybody.
_UNUSED_SECONDS: Final = (5.0, 80.0)
#: Of the grace: whoever waits behind the collector still finds what it was promised.
_OF_THE_GRACE: Final = 0.5
_HASH: Final = slice(len("/nix/store/"), len("/nix/store/") + 32)


@dataclass(frozen=True, slots=True)
class Policy:
    """0 switches a limit off. Nothing goes within `grace_seconds` of its last use."""

    max_bytes: int
    max_age_seconds: float
    grace_seconds: float

    @property
    def collects(self) -> bool:
        return self.max_bytes > 0 or self.max_age_seconds > 0


class Kept(Protocol):
    """What a store is kept for: a builder's catalogue, or what a worker host has fetched."""

    def environments(self) -> Iterable[Used]: ...

    def remove(self, id_: str, *, unused_since: float) -> bool: ...

    def settle(self) -> None: ...


def policy_of(settings: SharingSettings) -> Policy:
    return Policy(
        settings.store_max_bytes,
        settings.environment_max_age_seconds,
        settings.environment_grace_seconds,
    )


def doomed(
    environments: Iterable[Used], sizes: Mapping[str, int], policy: Policy, now: float
) -> list[Used]:
    """Which environments go, the longest unused first. Pure.

    `sizes` are those of all paths in the store; a path goes when the last that holds it does.
    """
    kept = sorted(environments, key=lambda one: one.at)
    total = sum(sizes.values())
    holders: dict[str, int] = {}
    for one in kept:
        for path in one.closure:
            holders[path] = holders.get(path, 0) + 1
    found = []
    for one in kept:
        age = now - one.at
        old = policy.max_age_seconds > 0 and age > policy.max_age_seconds
        full = policy.max_bytes > 0 and total > policy.max_bytes
        if age <= policy.grace_seconds or not (old or full):
            continue
        found.append(one)
        for path in one.closure:
            holders[path] -= 1
            if holders[path] == 0:
                total -= sizes.get(path, 0)
    return found


class Collector:
    """Collects between jobs, when neither a builder nor a worker of this store is at work."""

    def __init__(
        self, shared: Shared, kept: Kept, store: Path, cache: Path | None, policy: Policy
    ) -> None:
        self._shared = shared
        self._kept = kept
        longest = policy.grace_seconds * _OF_THE_GRACE
        self._first, self._longest = (min(seconds, longest) for seconds in _UNUSED_SECONDS)
        self._patience = self._first
        self._store = store
        self._database = store / "var/nix/db/db.sqlite"
        self._cache = cache
        self._policy = policy

    async def serve(self, seconds: float) -> None:
        """For ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.collect()
            except (StoreFailed, OSError, sqlite3.Error) as error:
                _LOGGER.warning("not collected: %s", error)

    async def collect(self) -> list[str]:
        """One collection, if it is due and the store is at rest; the ids of what went."""
        if not await self._due() and not await self._full():
            return []
        async with self._shared.unused(self._patience) as nobody:
            if not nobody:
                _LOGGER.info("not collected: the store is in use")
                self._patience = min(2 * self._patience, self._longest)
                return []
            self._patience = self._first
            began = time.monotonic()
            self._kept.settle()
            gone = [
                one.id
                for one in await self._due()
                if self._kept.remove(one.id, unused_since=one.at)
            ]
            # Nix would remove what killed builds have left too, and fail if it is deep enough
            aside = (self._shared, self._store, self._shared.aside)
            await asyncio.to_thread(put_roots_aside, *aside)
            await nixstore.run(nixstore.collect_argv(), seconds=_COLLECT_SECONDS)
            valid = await asyncio.to_thread(nixstore.sizes_of, self._database)
            if self._cache is not None:
                await asyncio.to_thread(prune, self._cache, valid)
            _LOGGER.info(
                "collected in %.2f s: %d environments removed, %d bytes left",
                time.monotonic() - began,
                len(gone),
                sum(valid.values()),
            )
            return gone

    async def _full(self) -> bool:
        """Whether there is too much: what no environment needs any more is a part of it."""
        sizes = await asyncio.to_thread(nixstore.sizes_of, self._database)
        return 0 < self._policy.max_bytes < sum(sizes.values())

    async def _due(self) -> list[Used]:
        sizes = await asyncio.to_thread(nixstore.sizes_of, self._database)
        return doomed(self._kept.environments(), sizes, self._policy, time.time())


def prune(cache: Path, valid: Mapping[str, int]) -> int:
    """Remove from a binary cache of files what the store has no more; how many paths went."""
    hashes = {path[_HASH] for path in valid}
    infos = {file: file.read_text() for file in cache.glob("*.narinfo")}
    kept = {_nar(text) for file, text in infos.items() if file.stem in hashes}
    gone = 0
    for file, text in infos.items():
        if file.stem in hashes:
            continue
        gone += 1
        file.unlink(missing_ok=True)  # first: whoever finds the one finds the other
        if (nar := _nar(text)) not in kept:
            (cache / nar).unlink(missing_ok=True)
    return gone


def _nar(text: str) -> str:
    """Where the content is: two paths can have the same one."""
    for line in text.splitlines():
        if line.startswith("URL: nar/"):
            return line.removeprefix("URL: ")
    return "nar/none"
