"""Every limit of a stage, declared once.

The HTTP model, the settings, the job frame and the tables in `docs/limits.md` are all made from
`LIMITS` and `TOTALS`. To add a limit: one row here, a field of `StageLimits`, its enforcement
(clocks, output and rlimits in `process.py`, what a cgroup counts in `cgroups.py`, the work folder
in `scratch.py`), and evidence for its outcome in `judge.py`. What all stages have together is
`remaining.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


class Stage(StrEnum):
    """The three stages, in order; every one takes the same limits and reports the same shape."""

    DEPENDENCIES = "dependencies"
    COMPILE = "compile"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: its default in each stage and the greatest value that a request may ask for."""

    name: str
    kind: type[int | float]
    defaults: tuple[float, float, float]
    maxima: tuple[float, float, float]
    meaning: str

    def default(self, stage: Stage) -> float:
        return self.defaults[_COLUMN[stage]]

    def maximum(self, stage: Stage) -> float:
        return self.maxima[_COLUMN[stage]]


_COLUMN: Final = {Stage.DEPENDENCIES: 0, Stage.COMPILE: 1, Stage.RUN: 2}

LIMITS: Final = (
    Limit(
        "wall_seconds", float, (300, 30, 10), (1800, 120, 60),
        "Time from the stage's start to its end on the clock.",
    ),
    Limit(
        "cpu_seconds", float, (300, 30, 10), (1800, 120, 60),
        "CPU time of all processes of the stage together, user and system.",
    ),
    Limit(
        "memory_bytes", int, (2 * GIB, 512 * MIB, 256 * MIB), (8 * GIB, 4 * GIB, 4 * GIB),
        "Memory of all processes together, the work folder's files included.",
    ),
    Limit(
        "processes", int, (256, 128, 64), (1024, 1024, 1024),
        "Processes and threads alive at once.",
    ),
    Limit(
        "stdout_bytes", int, (MIB, MIB, MIB), (16 * MIB, 16 * MIB, 16 * MIB),
        "Bytes written to stdout.",
    ),
    Limit(
        "stderr_bytes", int, (MIB, MIB, MIB), (16 * MIB, 16 * MIB, 16 * MIB),
        "Bytes written to stderr.",
    ),
    Limit(
        "file_size_bytes", int, (GIB, 64 * MIB, 16 * MIB), (8 * GIB, GIB, GIB),
        "Size of any one file that is written.",
    ),
    Limit(
        "open_files", int, (4096, 256, 256), (4096, 4096, 4096),
        "Open file descriptors of each process.",
    ),
    Limit(
        "disk_bytes", int, (4 * GIB, 256 * MIB, 64 * MIB), (8 * GIB, 2 * GIB, 2 * GIB),
        "Space for the work folder, HOME and /tmp together.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Total:
    """A bound on compile and all runs together: its default, and the most that may be asked."""

    name: str
    kind: type[int | float]
    default: float
    maximum: float
    meaning: str


TOTALS: Final = (
    Total(
        "wall_seconds", float, 600, 3600,
        "Time in which compile and the runs of one attempt are at work.",
    ),
    Total(
        "output_bytes", int, 64 * MIB, 256 * MIB,
        "Bytes of stdout and stderr that compile and all runs of one attempt leave.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TotalLimits:
    """The limits of compile and all runs together, resolved."""

    wall_seconds: float
    output_bytes: int


def total_defaults() -> TotalLimits:
    """The total limits for which the request asks nothing."""
    values: dict[str, Any] = {total.name: total.kind(total.default) for total in TOTALS}
    return TotalLimits(**values)


@dataclass(frozen=True, slots=True)
class StageLimits:
    """The limits of one stage, resolved: every field has its value."""

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    processes: int
    stdout_bytes: int
    stderr_bytes: int
    file_size_bytes: int
    open_files: int
    disk_bytes: int


def defaults(stage: Stage) -> StageLimits:
    """The limits of a stage for which the request asks nothing."""
    values: dict[str, Any] = {limit.name: limit.kind(limit.default(stage)) for limit in LIMITS}
    return StageLimits(**values)
