"""What a stage did: one shape for all three stages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from init.frames import Report
from init.outcome import Outcome
from streams.content import EMPTY, Content, Frozen, Packer


class StageResult(Frozen):
    """`*_total` counts what the stage wrote; the content is cut at the limit.

    Units are in the names. CPU time by kind is null where it was not told apart. `message` is
    ours, for a person: which limit, or why we failed.
    """

    outcome: Outcome
    exit_code: int | None = None
    signal: str | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    cpu_user_seconds: float | None = None
    cpu_system_seconds: float | None = None
    memory_peak_bytes: int = 0
    stdout: Content = EMPTY
    stderr: Content = EMPTY
    stdout_total: int = 0
    stderr_total: int = 0
    message: str | None = None

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


class RunResult(StageResult):
    """One test case.

    `verdict`: `accepted`, `wrong-answer`, the outcome when it is not `ok`, or null when nothing
    was expected.
    """

    case: int
    verdict: str | None = None


def stage_result(report: Report, packer: Packer) -> StageResult:
    """A report as the log keeps it; what is large goes to `packer.blobs`."""
    return StageResult(**_fields(report, packer))


def run_result(case: int, report: Report, verdict: str | None, packer: Packer) -> RunResult:
    """The report on test case number `case`, with its verdict."""
    return RunResult(case=case, verdict=verdict, **_fields(report, packer))


def _fields(report: Report, packer: Packer) -> dict[str, Any]:
    fields = asdict(report) | {
        "stdout": packer.pack(report.stdout),
        "stderr": packer.pack(report.stderr),
    }
    del fields["starved"]  # decides whether a build is kept, and is nobody's result
    return fields
