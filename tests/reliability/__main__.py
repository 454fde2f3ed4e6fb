"""`python -m tests.reliability --seconds 600 [--seed N]`: the kill matrix, for as long as you like.

Prints each strike, at the end what it was, and what was wrong; 1 when anything was.
"""

# ruff: noqa: T201 - this is what a person reads

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from sandstream import supervisor
from sandstream.state import State
from tests.e2e.conftest import ROOT, SHARED
from tests.reliability.engine import engine
from tests.reliability.matrix import SETTINGS, Report, endless, storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None, help="the order of the strikes")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    warm = [sys.executable, "-m", "nix", "warm", "--state", str(SHARED)]
    subprocess.run(warm, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    os.environ.update(SETTINGS)
    # A child that is struck every few seconds would be left alone for longer each time.
    supervisor._LONGEST_PAUSE_SECONDS = 0.4
    with tempfile.TemporaryDirectory(prefix="sandstream-soak-", dir="/var/tmp") as folder:
        for name in ("nix", "channel"):
            (Path(folder) / name).symlink_to(SHARED / name)
        state = State(Path(folder))
        report = asyncio.run(_soak(state, seed, asked.seconds))
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


async def _soak(state: State, seed: int, seconds: float) -> Report:
    async with engine() as own:
        return await storm(state, own, endless(seed), seed, seconds=seconds, say=_flushed)


def _flushed(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
