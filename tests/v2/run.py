"""Outside commands, run in one place: a failure keeps its command and its last words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class StepFailedError(Exception):
    """A step ended badly before the suite could say anything."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what begins, and how long it took: some of these take minutes."""
    began = time.monotonic()
    sys.stderr.write(f"test-v2: {what} ...\n")
    yield
    sys.stderr.write(f"test-v2: {what}: {time.monotonic() - began:.1f} s\n")


def run(argv: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """Run a command to its end, other work of the machine first; raises StepFailedError."""
    words = ["nice", "-n", "10", *map(str, argv)]
    # LC_ALL: a chroot has no locales, and perl complains on every line about it
    env = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, check=False)
    out = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        said = (out + done.stderr.decode(errors="replace")).splitlines()[-40:]
        lines = "\n  | ".join(said)
        raise StepFailedError(f"`{' '.join(words)}` ended with {done.returncode}:\n  | {lines}")
    return out
