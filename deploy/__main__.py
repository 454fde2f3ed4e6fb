"""`python3 -m deploy [--state DIR]`: make this machine ready. Safe, and quick, to run again."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from deploy import confinement, debian, engine, venv
from deploy.say import COMMAND_SECONDS, SetupFailedError, say

_OLDEST: Final = (3, 11)
_TRIES: Final = 2
_PAUSE_SECONDS: Final = 5.0


def main() -> int:
    """Run every step in order; each does nothing where nothing is to do."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy", description=__doc__)
    parser.add_argument("--state", type=Path, default=venv.ROOT / ".state", metavar="DIR")
    state: Path = parser.parse_args().state.resolve()
    logs = state / "logs"
    began = time.monotonic()
    try:
        check_python()
        debian.install_missing(logs)
        venv.make(logs)
        engine.start(logs)
        confinement.load(logs)
        prepare(state)
    except SetupFailedError as error:
        say(f"FAILED: {error}")
        return 1
    say(f"ready in {time.monotonic() - began:.1f} s")
    return 0


def check_python() -> None:
    """The one thing that set-up can't bring."""
    if sys.version_info < _OLDEST:
        raise SetupFailedError(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed",
            remedy="install a newer one, then `make PYTHON=/path/to/python3.x ...`",
        )


def prepare(state: Path) -> None:
    """Images and the offline channel; it tells each of its steps when that has ended."""
    if not (state / "channel").is_dir():
        say("container images and the Nix channel: 1 to 5 minutes, this first time")
    argv = [str(venv.python()), "-m", "nix", "prepare", "--state", str(state)]
    # Hundreds of downloads: one that the network lost must not cost a person the whole set-up.
    for attempt in range(1, _TRIES + 1):
        status = prepared(argv)
        if status == 0:
            return
        if attempt < _TRIES:
            say("that failed; once more, what is done stays done ...")
            time.sleep(_PAUSE_SECONDS)
    raise SetupFailedError(
        f"`{' '.join(argv)}` {ended(status)}: its words stand above",
        remedy="mend what it names, then run the same command again: what is done stays done",
    )


def prepared(argv: list[str]) -> int | None:
    """Its status; None when it was ended because it took too long."""
    try:
        done = subprocess.run(
            argv,
            cwd=venv.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def ended(status: int | None) -> str:
    """How, in words."""
    minutes = COMMAND_SECONDS / 60
    return f"ended with status {status}" if status else f"had not ended after {minutes:.0f} minutes"


if __name__ == "__main__":
    sys.exit(main())
