"""The host's Nix store as submissions need it: what is there stays, what is not is a cache miss.

On a host with builders the store is theirs, and nothing is asked. A host that has workers alone
has a storekeeper beside them, which fetches what builders of other hosts have made.

For a container that builds its own shell, a snapshot of the store's database: with it Nix knows
what lies in `/nix/store` and builds only what is missing. And, where an administrator allows
hosts, a proxy's socket: no container has a network.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from egress.proxy import serving
from egress.rules import Rule
from egress.settings import NetworkSettings
from init import nix
from streams import hoststore
from streams.environments import Environment
from streams.hoststore import InUse, realise, use, valid

#: Below the state folder, which the builder mounts at /nix.
STORE: Final = Path("nix")
DATABASE: Final = STORE / "var/nix/db"
#: Where in a path the hash ends: then follow a dash and the name.
_HASH_ENDS: Final = len(f"{nix.STORE}/") + 32
_WHY_LETTERS: Final = 300
_LOGGER: Final = logging.getLogger(__name__)
#: `deps-built` does not wait until a builder has published what it built.
_PUBLISHING_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Reach:
    """What a container's own build may reach, and the Nix settings of the caches among that."""

    allowed: tuple[Rule, ...] = ()
    config: str = ""


def reach(settings: NetworkSettings) -> Reach:
    caches = ""
    if settings.fetches:
        caches = nix.caches_config(settings.substituters, settings.trusted_public_keys)
    return Reach(settings.in_container, caches)


class HostStore:
    """One host's store; `keeper` is the socket of its storekeeper, None where builders fill it."""

    def __init__(
        self, state: Path, keeper: Path | None, fetch_seconds: float, reach: Reach | None = None
    ) -> None:
        self._reach = reach or Reach()
        self._state = state
        self._store = state / STORE
        self._in_use = InUse(self._store)
        self._keeper = keeper
        self._fetch_seconds = fetch_seconds

    def make(self) -> None:
        """The locks' files: a collector that comes later finds who was here before it."""
        self._in_use.make()

    @asynccontextmanager
    async def held(self, environment: Environment | None) -> AsyncIterator[str | None]:
        """While the block runs nothing of the store goes; gives why `environment` is not in it.

        Then the container builds it. Asked for before the lock: the storekeeper needs it too, and
        a collector that waits for us would hold it up. Raises OSError, sqlite3.Error.
        """
        missing = None
        if environment is not None:
            missing = misnamed(environment)
        if environment is not None and missing is None:
            use(self._store, environment.id)
            missing = await self._fetched(environment.path)
        async with self._in_use.used():
            if environment is not None and missing is None:
                there = await asyncio.to_thread(valid, self._store, environment.path)
                missing = None if there else "it is no longer in this host's store"
            yield missing

    async def _fetched(self, path: str) -> str | None:
        """Why the storekeeper has not brought it; a fetch goes on for the next who asks."""
        if self._keeper is None:
            return None
        try:
            async with asyncio.timeout(self._fetch_seconds):
                wait = min(_PUBLISHING_SECONDS, self._fetch_seconds)
                answer = await realise(self._keeper, [path], wait_seconds=wait)
        except TimeoutError:
            return f"it was not fetched within {self._fetch_seconds:g} s"
        except (OSError, ValueError, KeyError) as error:
            return f"the storekeeper does not answer: {error}"
        return answer.why.get(path, "no cache has it") if answer.missing else None

    @asynccontextmanager
    async def for_build(self, scratch: Path, uid: int, who: str) -> AsyncIterator[None]:
        """Put into `scratch` what a container needs that builds its own shell.

        A snapshot of the database, and for the block the way to what it may reach. Raises OSError
        or sqlite3.Error.
        """
        await asyncio.to_thread(snapshot, self._state, scratch, uid)
        if not self._reach.allowed:
            yield
            return
        folder = scratch / "egress"
        folder.mkdir(mode=0o700)
        (folder / "nix.conf").write_text(self._reach.config)
        for path in (folder, *folder.iterdir()):
            os.chown(path, uid, uid)
        async with serving(folder / "socket", self._reach.allowed, who, owner=uid):
            yield


def misnamed(environment: Environment) -> str | None:
    """Why a path is not that of this environment; None when it is.

    A cache's signature covers a path's name and content, and the name ends in the id. So whatever
    an event or a cache says, nobody gets the programs of another environment.
    """
    path, name = environment.path, f"-environment-{environment.id}"
    if nix.is_store_path(path) and path[_HASH_ENDS:] == name:
        return None
    _LOGGER.error("environment %s: its path is %r: REFUSED", environment.id, path)
    return f"{path[:_WHY_LETTERS]} is not the path of environment {environment.id}"


def snapshot(state: Path, scratch: Path, uid: int) -> Path:
    """Copy the database, without any environment, to `scratch/db`, owned by `uid`.

    Raises OSError or sqlite3.Error.
    """
    target = scratch / "db"
    hoststore.snapshot(state / STORE, target)
    for path in (target, *target.iterdir()):
        os.chown(path, uid, uid)
    return target
