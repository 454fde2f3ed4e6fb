"""`python -m tests.repeat [--times 20] [--at-once 3] [pytest arguments]`: the same tests again
and again, each run the others' load.

A test that fails once in twenty is a number that a judge can't trust. Without arguments: the tests
of limits and outcomes. Exit code 0 when every run passed.
"""

# ruff: noqa: T201 - this is what a person reads

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
USUAL = ("tests/sandbox", "tests/semantics")
_PROCESSES = "2"


@dataclass(frozen=True)
class Run:
    """How one went; `words` is pytest's closing line, `load` the machine's at its end."""

    number: int
    status: int
    words: str
    seconds: float
    load: float

    def __str__(self) -> str:
        told = "passed" if self.status == 0 else f"FAILED ({self.status})"
        return f"run {self.number:2}: {told}: {self.words} (load {self.load:.1f})"


def closing(log: str) -> str:
    """pytest's last line, without its rulers."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip("= ") if lines else "it said nothing"


async def one(number: int, arguments: list[str], folder: Path) -> Run:
    """A run in a process of its own; its words in `folder`."""
    log = folder / f"run-{number}.log"
    began = time.monotonic()
    # its own: pytest's common one is tidied up by whichever run ends, under the feet of the others
    with log.open("wb") as out, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", "--numprocesses", _PROCESSES, "--dist", "loadfile",
            "-p", "no:cacheprovider", "--basetemp", f"{own}/t", *arguments,
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
        status = await process.wait()
    words = closing(log.read_text(errors="replace"))
    return Run(number, status, words, time.monotonic() - began, os.getloadavg()[0])


async def repeat(times: int, at_once: int, arguments: list[str], folder: Path) -> list[Run]:
    """All of them, told as they end."""
    room = asyncio.Semaphore(at_once)

    async def told(number: int) -> Run:
        async with room:
            run = await one(number, arguments, folder)
        print(run, flush=True)
        return run

    return await asyncio.gather(*(told(number) for number in range(1, times + 1)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.repeat", description=__doc__)
    parser.add_argument("--times", type=int, default=20, metavar="N")
    parser.add_argument("--at-once", type=int, default=3, metavar="N")
    parser.add_argument("--logs", type=Path, default=ROOT / ".state-test" / "repeat")
    given, arguments = parser.parse_known_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    runs = asyncio.run(repeat(given.times, given.at_once, arguments or list(USUAL), given.logs))
    failed = [run for run in runs if run.status]
    loads = [run.load for run in runs]
    print(
        f"{len(runs) - len(failed)} of {len(runs)} runs passed, {given.at_once} at once on "
        f"{os.cpu_count()} processors, load {min(loads):.1f} to {max(loads):.1f}, "
        f"{time.monotonic() - began:.0f} s; logs in {given.logs}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
