"""What set-up tells the person who waits: each step as it begins, its time when it has ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TAIL: Final = 25
#: The longest that any step may take: hundreds of packages through a thin line, say.
COMMAND_SECONDS: Final = 1800.0
#: A question's; an engine that stands still takes the question and never answers.
_ANSWER_SECONDS: Final = 20.0


class SetupFailedError(Exception):
    """A step failed; `remedy` says what a person can do about it."""

    def __init__(self, what: str, *, log: Path | None = None, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.log = log
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.log is not None:
            lines += [f"  log:    {self.log}", *(f"  | {line}" for line in tail(self.log))]
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)


def tail(log: Path) -> list[str]:
    """The last lines of a log: that is where tools say what was wrong."""
    return log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []


def say(words: str) -> None:
    """A line for the person who waits."""
    sys.stderr.write(f"setup: {words}\n")
    sys.stderr.flush()


@contextmanager
def step(what: str, expect: str = "") -> Iterator[None]:
    """Announce a step, and how long it usually takes; then how long it took."""
    began = time.monotonic()
    hint = f" (about {expect})" if expect else ""
    say(f"{what}{hint} ...")
    yield
    say(f"{what}: done in {time.monotonic() - began:.1f} s")


def run(
    argv: Sequence[str], *, log: Path, remedy: str, env: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end, its words into `log`; one that never ends is a failure as well."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"$ {' '.join(argv)}\n".encode())
        out.flush()
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise SetupFailedError(f"{argv[0]} is not installed", remedy=remedy) from None
        except subprocess.TimeoutExpired:
            raise SetupFailedError(
                f"`{' '.join(argv)}` had not ended after {COMMAND_SECONDS / 60:.0f} minutes",
                log=log,
                remedy=remedy,
            ) from None
    if done.returncode != 0:
        raise SetupFailedError(
            f"`{' '.join(argv)}` ended with status {done.returncode}", log=log, remedy=remedy
        )


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the command exists and ends with status 0, and soon."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
