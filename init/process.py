"""One program from its start to its certain end: pipes are drained while the clocks are watched."""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from init import namespaces
from init.pipes import Sink, fixed, pipe, proof

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.cgroups import StageCgroup
    from init.limits import StageLimits

#: The child's descriptors beside 0, 1 and 2: where its script says that it lives (until which
#: the failure is ours), and where nsjail writes. The program inherits neither; its reaper keeps
#: the first, where a second byte means nothing.
STARTED_FD: Final = 3
LOG_FD: Final = 4
_LOG_BYTES: Final = 8 * 1024
#: Nix raises its own stack limit to this, and says so loudly where it may not.
_STACK_BYTES: Final = 64 * 1024 * 1024
_SHORTEST_TICK: Final = 0.005
_LONGEST_TICK: Final = 0.05
_NEVER: Final = float("inf")
_SHORTEST_DISK_TICK: Final = 0.001
#: Faster than any program writes to a tmpfs.
_DISK_BYTES_PER_SECOND: Final = 4 * 1024**3
_CPUS: Final = len(os.sched_getaffinity(0))
_PR_SET_PDEATHSIG: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it wrote. No exit code: it was killed."""

    exit_code: int | None
    wall_seconds: float
    stdout: Sink
    stderr: Sink
    log: str
    started: bool
    disk_was_full: bool


def run(
    argv: list[str],
    limits: StageLimits,
    cgroup: StageCgroup,
    *,
    stdin: bytes = b"",
    disk_is_full: Callable[[], bool] = lambda: False,
    disk_free: Callable[[], int] | None = None,
    user_namespaces: int | None = None,
) -> Ended:
    """Run `argv` in `cgroup` and return when nothing of it is alive any more.

    It is ended early when it meets a limit; which one is judged later, from the figures. The
    fuller the disk by `disk_free`, in bytes, the more often `disk_is_full` is asked. With
    `user_namespaces` only so many can be nested by whatever runs. The program dies with the thread
    that calls this, so that nothing runs whose limits nobody watches.
    """
    source = fixed(stdin)
    pipes = [pipe(), pipe(), proof(), pipe()]
    readers, writers = zip(*pipes, strict=True)
    start = time.monotonic()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(argv, limits, cgroup, (source, *writers), parent, nest=user_namespaces)
    for fd in (source, *writers):
        os.close(fd)
    sinks = [
        Sink(fd, limit)
        for fd, limit in zip(
            readers, (limits.stdout_bytes, limits.stderr_bytes, 1, _LOG_BYTES), strict=True
        )
    ]
    try:
        was_full = _watch(
            pid, start, sinks, limits, cgroup, disk_is_full=disk_is_full, disk_free=disk_free
        )
        wall_seconds = time.monotonic() - start
        # By its pid first: it may not be in its group yet, and nobody would end it any more.
        os.kill(pid, signal.SIGKILL)
        cgroup.kill()
        _, status = os.waitpid(pid, 0)
        for sink in sinks:
            sink.finish()
    finally:
        for fd in readers:
            os.close(fd)
    stdout, stderr, started, log = sinks
    return Ended(
        exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        wall_seconds=wall_seconds,
        stdout=stdout,
        stderr=stderr,
        log=log.data.decode(errors="replace").strip(),
        started=started.total > 0,
        disk_was_full=was_full or disk_is_full(),
    )


def _watch(
    pid: int,
    start: float,
    sinks: list[Sink],
    limits: StageLimits,
    cgroup: StageCgroup,
    *,
    disk_is_full: Callable[[], bool],
    disk_free: Callable[[], int] | None,
) -> bool:
    """Drain until the program ends or meets a limit. True when its disk was seen full."""
    was_full = False
    stdout, stderr = sinks[:2]
    end = start + limits.wall_seconds
    look_at = start + _SHORTEST_TICK
    look_at_disk = start if disk_free is not None else _NEVER
    pidfd = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            for sink in sinks:
                selector.register(sink.fd, selectors.EVENT_READ, sink)
            while True:
                wait = min(look_at, look_at_disk, end) - time.monotonic()
                ready = selector.select(max(0.0, wait))
                for key, _ in ready:
                    if key.data is None:
                        return was_full
                    if not key.data.drain():
                        selector.unregister(key.fd)
                now = time.monotonic()
                if now >= end or stdout.is_over or stderr.is_over:
                    return was_full
                if disk_free is not None and now >= look_at_disk:
                    was_full = was_full or disk_is_full()
                    # a program that fills it and tidies up before it fails is seen all the same
                    soonest = _NEVER if was_full else disk_free() / _DISK_BYTES_PER_SECOND
                    look_at_disk = now + max(soonest, _SHORTEST_DISK_TICK)
                if now >= look_at:
                    left = limits.cpu_seconds - cgroup.cpu_seconds()
                    if left <= 0 or cgroup.oom_kills():
                        return was_full
                    was_full = was_full or disk_is_full()
                    # the limit can't be met before all CPUs together have used what is left
                    look_at = now + min(max(left / _CPUS, _SHORTEST_TICK), _LONGEST_TICK)
    finally:
        os.close(pidfd)


def _die_with(parent: int) -> None:
    """Have the kernel kill this fresh child as soon as the thread that made it is gone."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it was, before we could ask for that
        os.kill(os.getpid(), signal.SIGKILL)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _child(
    argv: list[str],
    limits: StageLimits,
    cgroup: StageCgroup,
    fds: tuple[int, ...],
    parent: int,
    *,
    nest: int | None,
) -> NoReturn:
    # 1 and not 0: where the host pipes cores into a program of its own, 0 would not stop it
    core = min(1, resource.getrlimit(resource.RLIMIT_CORE)[1])
    try:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        _die_with(parent)
        cgroup.attach()
        if nest is not None:
            namespaces.descend(nest)
        for kind, soft, hard in (
            (resource.RLIMIT_FSIZE, limits.file_size_bytes, limits.file_size_bytes),
            (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
            (resource.RLIMIT_CORE, core, core),
            (resource.RLIMIT_STACK, _STACK_BYTES, resource.getrlimit(resource.RLIMIT_STACK)[1]),
        ):
            resource.setrlimit(kind, (soft, hard))
        # where memory is short in the whole container, the kernel takes a program before init
        _write("/proc/self/oom_score_adj", "500")
        os.umask(0o022)
        # Python ignores these, and ignoring is inherited: SIGXFSZ must be able to kill
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(argv[0], argv, {})  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - never return into the parent's code
        os.write(LOG_FD, repr(error).encode())
    finally:
        sys.stderr = None
        os._exit(255)
