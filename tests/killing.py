"""SIGKILL for one process. To pid 0, which is what an engine says of a container that is no more,
it would be for our own group: the tests, their make, and whoever reads them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def kill(pid: int) -> None:
    """ProcessLookupError when there is no such process, 0 included."""
    if pid <= 0:
        raise ProcessLookupError(f"no process has the id {pid}")
    os.kill(pid, signal.SIGKILL)


def running_on(module: str, folder: Path) -> int | None:
    """The process that runs this module of ours on a path in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if module in words and any(word.startswith(f"{folder}/") for word in words):
                return int(process.name)
    return None
