"""One stage: a jail run under its limits, and the report on it."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from init import process, tree
from init.frames import Report
from init.jail import argv
from init.judge import Evidence, judge
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.box import Box
    from init.jail import Jail
    from init.limits import StageLimits
    from init.scratch import Scratch


#: nsjail has nine open when it starts the program; below this there is no jail to fail in.
LEAST_OPEN_FILES: Final = 16


def run(
    box: Box,
    name: str,
    jail: Jail,
    limits: StageLimits,
    *,
    stdin: bytes = b"",
    disk_is_full: Callable[[], bool] = lambda: False,
    scratch: Scratch | None = None,
) -> Report:
    """Run `jail` to its end in a cgroup of its own, called `name`.

    All that it writes is in `scratch`; who has none says by `disk_is_full` when it is too much.
    A jail that passes STARTED_FD on has to write a byte to it as its first act, and that is the
    proof that it was built. Of others nsjail's silence has to be enough.
    """
    if limits.open_files < LEAST_OPEN_FILES:
        return not_run(
            Outcome.NONZERO_EXIT,
            f"nothing can run with open_files {limits.open_files}; {LEAST_OPEN_FILES} is the least",
        )
    jail = replace(jail, log_fd=process.LOG_FD)
    began_ns = time.time_ns()
    with box.cgroup(name, limits) as cgroup:
        ended = process.run(
            argv(jail),
            limits,
            cgroup,
            stdin=stdin,
            disk_is_full=disk_is_full if scratch is None else scratch.is_full,
            disk_free=None if scratch is None else scratch.free,
            user_namespaces=jail.user_namespaces,
        )
        figures = cgroup.figures()
    reap()
    tells = process.STARTED_FD in jail.pass_fds
    evidence = Evidence(
        started=ended.started if tells else not ended.log,
        exit_code=ended.exit_code,
        wall_seconds=ended.wall_seconds,
        figures=figures,
        stdout_total=ended.stdout.total,
        stderr_total=ended.stderr.total,
        disk_was_full=ended.disk_was_full,
        file_at_limit=(
            scratch is not None
            and ended.exit_code != 0
            and tree.has_grown_to(scratch.path, limits.file_size_bytes, began_ns)
        ),
        sandbox_log=ended.log,
    )
    judgement = judge(evidence, limits)
    return Report(
        outcome=judgement.outcome,
        exit_code=ended.exit_code,
        signal=judgement.signal,
        wall_seconds=ended.wall_seconds,
        cpu_seconds=figures.cpu_seconds,
        memory_peak_bytes=figures.memory_peak_bytes,
        stdout=bytes(ended.stdout.data),
        stderr=bytes(ended.stderr.data),
        stdout_total=ended.stdout.total,
        stderr_total=ended.stderr.total,
        message=judgement.message,
        cpu_user_seconds=figures.cpu_user_seconds,
        cpu_system_seconds=figures.cpu_system_seconds,
        starved=figures.starved,
    )


def not_run(outcome: Outcome, message: str) -> Report:
    """The report on a stage whose program was never started."""
    return Report(outcome, None, None, 0.0, 0.0, 0, message=message)


def no_room(error: OSError) -> Report:
    """The report when the stage's files could not be laid out. Raises what is not about space."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return not_run(Outcome.DISK_LIMIT, "the files do not fit in disk_bytes")
    raise error


def reap() -> None:
    """Collect what has ended below us."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
