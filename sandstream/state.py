"""The state folder: everything that one system keeps on this machine, used by one at a time."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_NUMBERS: Final = 4096
CHECKOUT: Final = Path(__file__).resolve().parent.parent


class NotRunningError(Exception):
    """No stack runs on the folder now."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"nothing runs on {folder}: start it with `make up`")
        self.folder = folder


class StateBusyError(Exception):
    """Another stack uses the folder; `url` is where it serves, once it does."""

    def __init__(self, folder: Path, pid: int, url: str | None) -> None:
        where = f" and serves {url}" if url else ""
        super().__init__(f"{folder} is in use: process {pid} runs a system on it{where}")
        self.folder = folder
        self.pid = pid
        self.url = url


@dataclass(frozen=True)
class State:
    """The folder's layout."""

    folder: Path

    @property
    def nats(self) -> Path:
        return self.folder / "nats"

    @property
    def nix(self) -> Path:
        return self.folder / "nix"

    @property
    def channel(self) -> Path:
        return self.folder / "channel"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def passwords(self) -> Path:
        """Of each user of the log, in a file that its reader owns."""
        return self.folder / "passwords"

    @property
    def number(self) -> int:
        """The same at each start, hardly that of another folder."""
        return zlib.crc32(str(self.folder).encode()) % _NUMBERS

    @property
    def running(self) -> Path:
        return self.folder / "running"

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else uses the folder meanwhile. Raises StateBusyError."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._busy() from None
            self.announce(None)
            try:
                yield
            finally:
                file.truncate(0)

    def announce(self, url: str | None, events: str | None = None) -> None:
        """Tell whoever finds the folder in use where its system serves, and where its log is."""
        holder = {"pid": os.getpid(), "url": url, "events": events}
        self._lock.write_text(json.dumps(holder))

    def events(self) -> str:
        """The address of the running system's event log. Raises NotRunningError."""
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if (url := self._holder().get("events")) is not None:
                return str(url)
        except FileNotFoundError:
            pass
        raise NotRunningError(self.folder)

    def _holder(self) -> dict[str, Any]:
        """What the one who uses the folder has announced."""
        try:
            holder: dict[str, Any] = json.loads(self._lock.read_text())
        except json.JSONDecodeError:  # it is just starting, or just ending
            return {}
        return holder

    def _busy(self) -> StateBusyError:
        holder = self._holder()
        return StateBusyError(self.folder, int(holder.get("pid", 0)), holder.get("url"))
