"""Outside commands, run in one place so that a failure always keeps its command and output."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass  # not frozen: contextlib sets __traceback__
class CommandFailedError(Exception):
    """A tool ended with a non-zero status."""

    argv: tuple[str, ...]
    status: int
    output: str

    def __str__(self) -> str:
        """Show the last lines: that is where tools say what was wrong."""
        tail = "\n".join(self.output.splitlines()[-40:])
        return f"{' '.join(self.argv)}\nended with status {self.status}:\n{tail}"


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> str:
    """Run a command to its end and return its stdout; an error keeps both streams."""
    done = subprocess.run(
        list(argv), cwd=cwd, env=env, input=stdin, capture_output=True, check=False
    )
    out = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise CommandFailedError(
            tuple(argv), done.returncode, out + done.stderr.decode(errors="replace")
        )
    return out


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the command exists and ends with status 0."""
    try:
        run(argv)
    except (CommandFailedError, FileNotFoundError):
        return False
    return True
