"""A disk that takes long to measure keeps nobody waiting."""

from __future__ import annotations

import threading
import time

import pytest

from init import stoppable
from init.disk import TooMuchError
from init.folders import UnreadableError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(stoppable, "_MEASURE_SECONDS", 0.01)


def seen(meter, within=10.0):
    deadline = time.monotonic() + within
    while not meter.full() and time.monotonic() < deadline:
        time.sleep(0.01)
    return meter.full()


def raising(error):
    def used(ended):
        raise error

    return used


def test_nobody_waits_for_a_measure_that_never_ends():
    entered = threading.Event()

    def used(ended):
        entered.set()
        while not ended():
            time.sleep(0.001)
        return 0

    meter = stoppable._Meter(used, 1)
    assert not meter.full()
    assert entered.wait(10)
    assert not meter.full()
    meter.end()
    assert threading.active_count() == 1


def test_limit_is_met_by_more_than_it():
    for used, full in ((11, True), (10, False)):
        meter = stoppable._Meter(lambda ended, used=used: used, 10)
        assert seen(meter, 10 if full else 0.2) is full
        meter.end()


def test_what_is_too_much_to_be_looked_at_meets_it():
    meter = stoppable._Meter(raising(TooMuchError()), 10)
    assert seen(meter)
    meter.end()


def test_what_can_never_be_read_meets_it_and_once_is_no_reason():
    meter = stoppable._Meter(raising(UnreadableError()), 10)
    assert seen(meter)
    meter.end()
    tries = []

    def now_and_then(ended):
        tries.append(1)
        if len(tries) % 2:
            raise UnreadableError
        return 0

    meter = stoppable._Meter(now_and_then, 10)
    assert not seen(meter, 0.3)
    assert len(tries) > 2
    meter.end()


def test_fault_of_ours_is_no_verdict():
    meter = stoppable._Meter(raising(RuntimeError("a bug")), 10)
    with pytest.raises(RuntimeError, match="a bug"):
        seen(meter)
    meter.end()


def test_nothing_is_measured_before_it_is_asked():
    meter = stoppable._Meter(raising(AssertionError()), 10)
    meter.end()
    assert not meter.full()
