"""Several cases at the same time, told in their order: real processes, no jail."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from init import cases
from init.frames import Report
from init.outcome import Outcome

#: Newer Pythons warn of a fork beside threads, and pytest may have some; init has none.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def report(number: int, stdout: bytes = b"") -> Report:
    return Report(Outcome.OK, number, None, 0.0, 0.0, 0, stdout=stdout)


def told(done) -> list[tuple[int, int | None]]:
    return [(one.case, one.report.exit_code) for one in done]


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_every_case_is_told_once_and_in_order(at_once):
    def run(number: int) -> Report:
        time.sleep(0.01 * (number * 7 % 5))
        return report(number)

    expected = [(number, number) for number in range(12)]
    assert told(cases.in_order(12, at_once, run)) == expected


@pytest.mark.parametrize(("count", "at_once"), [(0, 1), (0, 4), (1, 4), (3, 1)])
def test_what_is_alone_needs_no_process(count, at_once):
    own = os.getpid()
    pids = []

    def run(number: int) -> Report:
        pids.append(os.getpid())
        return report(number)

    assert told(cases.in_order(count, at_once, run)) == [(n, n) for n in range(count)]
    assert pids == [own] * count


def test_no_more_than_that_run_at_the_same_time_and_they_do(tmp_path):
    """Each case says when it begins and ends; the first three wait for each other."""
    log = tmp_path / "log"
    log.touch()

    def run(number: int) -> Report:
        with log.open("ab", 0) as file:
            file.write(b"+")
            deadline = time.monotonic() + 30
            while number < 3 and log.read_bytes().count(b"+") < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            file.write(b"-")
        return report(number)

    assert len(list(cases.in_order(9, 3, run))) == 9
    alive = 0
    highest = 0
    for letter in log.read_text():
        alive += 1 if letter == "+" else -1
        highest = max(highest, alive)
    assert highest == 3


def test_report_that_is_early_waits_for_the_one_before(tmp_path):
    late = tmp_path / "late"

    def run(number: int) -> Report:
        if number == 0:
            while not late.exists():
                time.sleep(0.005)
        if number == 3:
            late.touch()
        return report(number)

    assert told(cases.in_order(4, 2, run)) == [(n, n) for n in range(4)]


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    """The first is slow; the others may not all pile up behind it."""
    monkeypatch.setattr(cases, "_WAITING_BYTES", 2500)

    def run(number: int) -> Report:
        (tmp_path / str(number)).touch()
        if number == 0:
            time.sleep(0.5)
            begun = len(list(tmp_path.iterdir()))
            return report(begun)
        return report(number, bytes(1000))

    done = list(cases.in_order(50, 2, run))
    assert [one.case for one in done] == list(range(50))
    assert done[0].report.exit_code <= 5


def test_large_report_comes_back_whole():
    data = os.urandom(1 << 20) * 16

    def run(number: int) -> Report:
        return report(number, data)

    assert [one.report.stdout == data for one in cases.in_order(2, 2, run)] == [True, True]


def test_failure_of_ours_in_a_case_is_raised_with_its_words(capfd):
    def run(number: int) -> Report:
        if number == 1:
            raise PermissionError("the cgroup x is not ours")
        return report(number)

    done = cases.in_order(3, 2, run)
    assert next(done).case == 0
    with pytest.raises(cases.RunnerFailedError, match="case 1: PermissionError: the cgroup"):
        next(done)
    assert "Traceback" in capfd.readouterr().err


def test_process_of_a_case_that_is_killed_is_a_failure_of_ours():
    def run(number: int) -> Report:
        os.kill(os.getpid(), 9)
        return report(number)

    with pytest.raises(cases.RunnerFailedError, match="told nothing"):
        list(cases.in_order(2, 2, run))


def test_no_descriptor_and_no_process_is_left():
    def run(number: int) -> Report:
        return report(number)

    open_ = Path("/proc/self/fd")
    before = len(list(open_.iterdir()))
    list(cases.in_order(20, 4, run))
    next(cases.in_order(20, 4, run))  # and nobody asks for more
    assert len(list(open_.iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
