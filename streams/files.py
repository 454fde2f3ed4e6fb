"""Files that others read while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all: who reads it sees what was there, or all of this.

    That holds for a power cut too. One writer at a time. Raises OSError.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a life that was cut short, and with its mode
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(file, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
