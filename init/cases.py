"""Test cases, one after another or several at the same time, and always told in their order.

Where several run at once, each has a process of its own: a fork of init, which makes the case's
scratch folder, cgroup and jail as init alone would, and leaves its report as a frame in a file in
memory. A report that is early waits for those before it. So the log, the verdict and what
`stop_on_failure` keeps are the same however many ran at once.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from init.frames import Broken, RunDone
from init.wire import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from init.frames import Report

#: While more than this waits for its turn, nothing begins but what is due.
_WAITING_BYTES: Final = 64 * 1024 * 1024


class RunnerFailedError(RuntimeError):
    """The process of a case ended without a report; our fault."""


def in_order(count: int, at_once: int, run: Callable[[int], Report]) -> Iterator[RunDone]:
    """`run(number)` for each number below `count`, up to `at_once` of them at the same time.

    They begin in order, and their reports come in order. Raises RunnerFailedError.
    """
    if min(count, at_once) <= 1:
        for number in range(count):
            yield RunDone(number, run(number))
        return
    runners: dict[int, _Runner] = {}
    try:
        yield from _at_once(count, at_once, run, runners)
    finally:
        for runner in runners.values():
            runner.end()


def _at_once(
    count: int, at_once: int, run: Callable[[int], Report], runners: dict[int, _Runner]
) -> Iterator[RunDone]:
    early: dict[int, bytes] = {}
    begun = 0
    for due in range(count):
        while due not in early:
            while begun < count and len(runners) < at_once and _may_begin(begun, due, early):
                runners[begun] = _Runner.start(begun, run)
                begun += 1
            for number in _ended(runners):
                early[number] = runners.pop(number).report()
        yield _read(due, early.pop(due))


def _may_begin(number: int, due: int, early: dict[int, bytes]) -> bool:
    return number == due or sum(map(len, early.values())) <= _WAITING_BYTES


def _ended(runners: dict[int, _Runner]) -> list[int]:
    """Whoever has ended, at least one."""
    poll = select.poll()
    numbers = {runner.pidfd: number for number, runner in runners.items()}
    for fd in numbers:
        poll.register(fd, select.POLLIN)
    return [numbers[fd] for fd, _ in poll.poll()]


def _read(number: int, data: bytes) -> RunDone:
    match list(Decoder().feed(data)):
        case [RunDone() as done]:
            return done
        case [Broken(reason)]:
            raise RunnerFailedError(f"case {number}: {reason}")
        case _:
            raise RunnerFailedError(f"case {number}: its process ended and told nothing")


@dataclass(frozen=True, slots=True)
class _Runner:
    """The process of one case."""

    pid: int
    pidfd: int
    file: int

    @classmethod
    def start(cls, number: int, run: Callable[[int], Report]) -> _Runner:
        file = os.memfd_create("report", os.MFD_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _work(number, run, file)
        return cls(pid, os.pidfd_open(pid), file)

    def report(self) -> bytes:
        """The frame that it left; its process is no more."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        with open(self.file, "rb") as file:  # noqa: PTH123 - a descriptor, which this closes
            file.seek(0)
            return file.read()

    def end(self) -> None:
        """Nobody wants its report; what it has in a jail goes with the container."""
        os.kill(self.pid, signal.SIGKILL)
        self.report()


def _work(number: int, run: Callable[[int], Report], file: int) -> NoReturn:
    """Never returns into init's own code."""
    try:
        try:
            data = encode(RunDone(number, run(number)))
        except Exception as error:  # noqa: BLE001 - whatever it is, init has to hear of it
            import traceback

            traceback.print_exc()
            data = encode(Broken(f"{type(error).__name__}: {error}"))
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
    finally:
        os._exit(0)
