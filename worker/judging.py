"""Comparing a run's output: a small one here, a large one in a process of its own.

An output is a stranger's, and comparing 16 MiB of numbers took 22 s of CPU time.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from worker import comparison
from worker.errors import AttemptFailed

#: Comparing so much takes some 50 ms at worst. More would hold up the other submissions.
_LARGE_BYTES: Final = 32 * 1024
#: On a host that has time for nothing. Beyond it the process is stuck, through our own fault.
_WALL_PER_CPU: Final = 10
_WALL_SECONDS: Final = 30
_PROGRAM: Final = Path(comparison.__file__)


class ComparisonTooLong(Exception):
    """Comparing met its own limit of CPU time."""

    def __init__(self, cpu_seconds: int) -> None:
        self.cpu_seconds = cpu_seconds
        super().__init__(
            f"comparing stdout took more than {cpu_seconds} s of CPU time; "
            "SANDSTREAM_COMPARE_CPU_SECONDS is the limit"
        )


async def agrees(stdout: bytes, expected: bytes, compare: str, *, cpu_seconds: int) -> bool:
    """As `comparison.agrees`. Raises ComparisonTooLong, AttemptFailed."""
    if compare == "exact" or len(stdout) + len(expected) <= _LARGE_BYTES:
        return comparison.agrees(stdout, expected, compare)
    wall_seconds = cpu_seconds * _WALL_PER_CPU + _WALL_SECONDS
    async with _process(cpu_seconds) as process:
        try:
            async with asyncio.timeout(wall_seconds):
                said, why = await process.communicate(comparison.encode(stdout, expected, compare))
        except TimeoutError as error:
            words = f"comparing stdout had not ended after {wall_seconds} s"
            raise AttemptFailed(words) from error
    if process.returncode == -signal.SIGXCPU:
        raise ComparisonTooLong(cpu_seconds)
    if process.returncode or said not in {b"same", b"different"}:
        words = why.decode(errors="replace").strip()[-500:]
        raise AttemptFailed(f"comparing stdout ended with {process.returncode}: {words}")
    return said == b"same"


@asynccontextmanager
async def _process(cpu_seconds: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Of our own interpreter, with nothing of our environment. Raises AttemptFailed."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_PROGRAM), str(cpu_seconds)),
            stdin=pipe, stdout=pipe, stderr=pipe, env={},
        )  # fmt: skip
    except OSError as error:
        raise AttemptFailed(f"comparing stdout could not begin: {error}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
