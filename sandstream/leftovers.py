"""Processes that an earlier life started and could not stop, known by pid *and* time of birth."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

_PATIENCE_SECONDS: Final = 10.0


def birth(pid: int) -> str | None:
    """When the process started, in ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything: count from its end. Field 22; state is field 3.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def note(folder: Path, name: str, pid: int) -> None:
    """Remember a process that we started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{pid} {birth(pid)}")


def forget(folder: Path, name: str) -> None:
    """It has ended."""
    (folder / name).unlink(missing_ok=True)


def end_all(folder: Path) -> list[str]:
    """End what is still noted and still the same process; returns their names."""
    ended = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        pid, _, born = file.read_text().partition(" ")
        if born and birth(int(pid)) == born:
            _end(int(pid), born)
            ended.append(file.name)
        file.unlink()
    return ended


def _end(pid: int, born: str) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while birth(pid) == born:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
