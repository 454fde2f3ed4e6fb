"""From evidence to an outcome: pure, and the order is `Outcome`'s."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from init.outcome import Outcome

if TYPE_CHECKING:
    from init.cgroups import Figures
    from init.limits import StageLimits

#: A shell, and our reaper, report a child's death by signal N as 128+N.
_SIGNAL_BASE: Final = 128


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a stage when it is over.

    `exit_code` is None when init ended the stage itself. `started` says that the jail was built
    and our script in it ran; `sandbox_log` holds nsjail's fatal messages. `file_at_limit` says that
    a file which the stage wrote was left with exactly the greatest size allowed: who ignores
    SIGXFSZ, as Python does, gets an error from the call that would have gone beyond it.
    """

    started: bool
    exit_code: int | None
    wall_seconds: float
    figures: Figures
    stdout_total: int = 0
    stderr_total: int = 0
    disk_was_full: bool = False
    file_at_limit: bool = False
    sandbox_log: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    outcome: Outcome
    signal: str | None
    message: str | None


def signal_name(exit_code: int | None) -> str | None:
    """The signal that an exit code tells of. None, by our own hand, is SIGKILL."""
    number = signal.SIGKILL if exit_code is None else exit_code - _SIGNAL_BASE
    if number not in signal.valid_signals():
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time ones between the first and the last
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def judge(evidence: Evidence, limits: StageLimits) -> Judgement:
    """Tell how the stage ended, with the first cause in order of precedence."""
    name = signal_name(evidence.exit_code)
    outcome, message = _cause(evidence, limits, name)
    return Judgement(outcome, name, message)


def _cause(evidence: Evidence, limits: StageLimits, name: str | None) -> tuple[Outcome, str | None]:
    figures = evidence.figures
    failed = evidence.exit_code != 0
    limit_met = next(
        (
            (outcome, f"{what}; the limit is {limit}")
            for outcome, is_met, what, limit in (
                (
                    Outcome.WALL_TIME_LIMIT,
                    evidence.wall_seconds >= limits.wall_seconds,
                    f"{evidence.wall_seconds:.3f} seconds on the clock",
                    f"{limits.wall_seconds:g}",
                ),
                (
                    Outcome.CPU_TIME_LIMIT,
                    figures.cpu_seconds >= limits.cpu_seconds,
                    f"{figures.cpu_seconds:.3f} seconds of CPU time",
                    f"{limits.cpu_seconds:g}",
                ),
                (
                    Outcome.MEMORY_LIMIT,
                    figures.oom_kills > 0 and figures.oom_at_limit,
                    "out of memory",
                    f"{limits.memory_bytes} bytes",
                ),
                (
                    Outcome.STDOUT_LIMIT,
                    evidence.stdout_total > limits.stdout_bytes,
                    "too much on stdout",
                    f"{limits.stdout_bytes} bytes",
                ),
                (
                    Outcome.STDERR_LIMIT,
                    evidence.stderr_total > limits.stderr_bytes,
                    "too much on stderr",
                    f"{limits.stderr_bytes} bytes",
                ),
                (
                    Outcome.DISK_LIMIT,
                    failed and evidence.disk_was_full,
                    "no space left for files",
                    f"{limits.disk_bytes} bytes",
                ),
                (
                    Outcome.FILE_SIZE_LIMIT,
                    name == "SIGXFSZ" or (failed and evidence.file_at_limit),
                    "a file grew too large",
                    f"{limits.file_size_bytes} bytes",
                ),
                (
                    Outcome.PROCESS_LIMIT,
                    failed and figures.refused_forks > 0,
                    f"{figures.refused_forks} forks refused",
                    f"{limits.processes} processes",
                ),
            )
            if is_met
        ),
        None,
    )
    if figures.oom_kills and not figures.oom_at_limit and limit_met is None:
        return Outcome.SANDBOX_ERROR, "the machine around the stage ran out of memory"
    if not evidence.started and (limit_met is None or evidence.sandbox_log):
        why = evidence.sandbox_log or f"the jail ended with {evidence.exit_code} before its start"
        return Outcome.SANDBOX_ERROR, why
    if limit_met is not None:
        return limit_met
    if name is not None:
        return Outcome.SIGNALLED, None
    return (Outcome.NONZERO_EXIT if failed else Outcome.OK), None
