"""What a connection says of its troubles."""

from __future__ import annotations

from streams.connection import _Damped


def test_an_error_that_repeats_is_said_once_in_ten_seconds_with_its_count():
    damped = _Damped()
    said = [damped.times("refused", now) for now in (0.0, 0.25, 9.9, 10.0, 10.25, 21.0)]
    assert said == [1, None, None, 3, None, 2]
    assert damped.times("another", 0.1) == 1
