"""What the processes of one host share beside a Nix store: who uses it now, and who fills it.

Builders, workers and the storekeeper of a host never import each other. In the log they meet in
events; here in two files below the store's `var/sandstream`, and in a line of JSON over a socket.
Every lock is the kernel's: it goes with its holder, however that ends.

`in-use`    shared: a job of a builder, and a submission's attempt of a worker. Alone: a collection.
`gate`      held by who waits to collect, so that new jobs come after, and not always before.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: How often a lock that another process holds is tried again.
_AGAIN_SECONDS: Final = 0.05
_LINE_BYTES: Final = 4 * 1024 * 1024
#: An environment's path is `/nix/store/<32 characters>-environment-…`, whoever's it is.
_FORGET_ENVIRONMENTS: Final = (
    # 32 characters of hash, then the name
    """create temp table gone as
    select id from ValidPaths where substr(path, 44, 13) = '-environment-'""",
    "delete from Refs where referrer in (select id from gone)",
    "delete from Refs where reference in (select id from gone)",
    "delete from ValidPaths where id in (select id from gone)",
)


class InUse:
    """The two locks of one store; `store` is the folder that is mounted as /nix."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "var/sandstream"
        self._in_use = self.folder / "in-use"
        self._gate = self.folder / "gate"

    def make(self) -> None:
        """The files; whoever of the store's users comes first makes them, its owner or not.

        The folder appears as its owner's, who has more to put there.
        """
        if not self.folder.exists():
            owner = self.folder.parents[1].stat()
            self.folder.parent.mkdir(exist_ok=True)
            fresh = self.folder.with_name(f"sandstream.{os.getpid()}")
            fresh.mkdir()
            os.chown(fresh, owner.st_uid, owner.st_gid)
            try:
                fresh.rename(self.folder)
            except OSError:  # another was first
                fresh.rmdir()
        for file in (self._in_use, self._gate):
            if not file.exists():
                file.touch()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """While the block runs nobody collects garbage in this store."""
        async with locked(self._gate, fcntl.LOCK_SH):
            in_use = await _lock(self._in_use, fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(in_use)

    @asynccontextmanager
    async def unused(self, wait_seconds: float) -> AsyncIterator[bool]:
        """Whether nobody used the store within that time; if so, nobody does in the block."""
        async with locked(self._gate, fcntl.LOCK_EX):
            try:
                async with asyncio.timeout(wait_seconds):
                    in_use = await _lock(self._in_use, fcntl.LOCK_EX)
            except TimeoutError:
                in_use = None
        try:
            yield in_use is not None
        finally:
            if in_use is not None:
                os.close(in_use)


@asynccontextmanager
async def locked(
    path: Path, kind: int, waiting: Callable[[], None] | None = None
) -> AsyncIterator[None]:
    """A `flock` for the block; `waiting` is called at each look at which another has it."""
    file = await _lock(path, kind, waiting)
    try:
        yield
    finally:
        os.close(file)


async def _lock(path: Path, kind: int, waiting: Callable[[], None] | None = None) -> int:
    """Polled: a blocking call could not be given up. Closing the descriptor lets go."""
    # to read: a lock needs no right to write, and its file may be another user's
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not taken(file, kind):
            if waiting is not None:
                waiting()
            await asyncio.sleep(_AGAIN_SECONDS)
    except BaseException:
        os.close(file)
        raise
    return file


def taken(file: int, kind: int) -> bool:
    """Whether the lock is ours now; without waiting."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def environments(store: Path) -> Path:
    """The builders' records, one file for each environment; its time of change is its last use."""
    return store / "var/sandstream/environments"


def use(store: Path, environment_id: str) -> None:
    """An environment is used again now, so it is not what a collector removes next."""
    with suppress(FileNotFoundError):  # fetched from another host, or gone
        os.utime(environments(store) / f"{environment_id}.json")


def valid(store: Path, path: str) -> bool:
    """Whether the store has a path with all that it refers to; a folder there says nothing yet.

    Raises sqlite3.Error.
    """
    database = f"file:{store / 'var/nix/db/db.sqlite'}?mode=ro"
    with closing(sqlite3.connect(database, uri=True)) as connection:
        query = "select 1 from ValidPaths where path = ?"
        return connection.execute(query, (path,)).fetchone() is not None


def snapshot(store: Path, target: Path) -> None:
    """Copy the store's database and schema number into the folder `target`, which is made.

    It names no environment: a job's Nix takes as valid what this database names, and
    `builtins.storePath` would read another's. Nor do its unused pages. SQLite's own backup makes
    a consistent copy while a builder writes; a copied file lacks what is in the log beside it.
    Raises OSError, sqlite3.Error.
    """
    source = store / "var/nix/db"
    target.mkdir(mode=0o700, exist_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source / 'db.sqlite'}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target / "db.sqlite")) as copy,
    ):
        live.backup(copy)
        copy.execute("pragma secure_delete = on")
        for words in _FORGET_ENVIRONMENTS:
            copy.execute(words)
        copy.commit()
    shutil.copyfile(source / "schema", target / "schema")


@dataclass(frozen=True, slots=True)
class Realised:
    """What the storekeeper answers: the paths that can't be had now, and why."""

    missing: tuple[str, ...]
    why: dict[str, str] = field(default_factory=dict)


async def realise(socket: Path, paths: Iterable[str], *, wait_seconds: float = 0.0) -> Realised:
    """Ask a worker host's storekeeper for store paths, with all that they refer to.

    What is there is kept from the garbage collector, and counts as used now. `wait_seconds`: how
    long to ask again for what no cache has yet. Raises OSError when nobody listens, or the answer
    breaks off.
    """
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LINE_BYTES)
    try:
        asked = {"paths": list(paths), "wait_seconds": wait_seconds}
        writer.write(json.dumps(asked).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("the storekeeper broke off")
    answer = json.loads(line)
    return Realised(tuple(answer["missing"]), answer.get("why", {}))
