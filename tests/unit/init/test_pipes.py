"""Input that can't be changed, and output that is cut exactly."""

from __future__ import annotations

import os

import pytest

from init.pipes import Sink, fixed, pipe


def test_input_is_read_from_its_beginning_and_sealed():
    fd = fixed(b"data")
    try:
        assert os.read(fd, 99) == b"data"
        assert not os.get_inheritable(fd)
        writer = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        with pytest.raises(PermissionError):
            os.write(writer, b"x")
        os.close(writer)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("limit", "over"), [(0, True), (9, True), (10, False), (11, False)])
def test_sink_keeps_its_limit_and_counts_all(limit, over):
    reader, writer = pipe()
    sink = Sink(reader, limit)
    for _ in range(2):
        os.write(writer, b"12345")
        assert sink.drain()
    assert sink.drain()  # nothing there, and not the end
    os.close(writer)
    assert not sink.drain()
    os.close(reader)
    assert (bytes(sink.data), sink.total, sink.is_over) == (b"1234512345"[:limit], 10, over)


def test_finish_takes_what_is_there_and_waits_for_no_end():
    reader, writer = pipe()
    os.write(writer, b"12345")
    sink = Sink(reader, 3)
    sink.finish()
    assert (bytes(sink.data), sink.total) == (b"123", 5)
    os.close(writer)
    os.close(reader)
