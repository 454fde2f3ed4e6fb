"""One living process for each name: a second one would clean up the first one's containers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import NameTaken


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the name that `folder` stands for, for the block. Raises NameTaken."""
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NameTaken(str(folder)) from None
        yield
    finally:
        os.close(lock)
