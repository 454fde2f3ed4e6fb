"""Files that others read while they are written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int = 0o644, uid: int | None = None) -> None:
    """Write a file whole or not at all: who reads it sees what was there, or all of this.

    That holds for a power cut too. One writer at a time. `uid`: its owner, where that is another
    user (needs root). Raises OSError.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a life that was cut short, and with its mode
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(file, "wb") as out:
        if uid is not None:
            os.fchown(file, uid, uid)
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def keep(path: Path, data: bytes, *, mode: int, uid: int | None = None) -> None:
    """The same, unless it is so already: a full disk has no room for a second one."""
    try:
        was = path.stat()
        same = (
            stat.S_IMODE(was.st_mode) == mode
            and (uid is None or was.st_uid == uid)
            and path.read_bytes() == data
        )
    except FileNotFoundError:
        same = False
    if not same:
        replace(path, data, mode=mode, uid=uid)
