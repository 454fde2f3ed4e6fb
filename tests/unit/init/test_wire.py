"""Frames come out as they went in, however their bytes are split."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init import frames
from init.frames import (
    Broken,
    Build,
    Case,
    CompileDone,
    Delegated,
    DependenciesDone,
    End,
    Environment,
    Export,
    Job,
    JobFile,
    Piece,
    Planned,
    Provided,
    Ready,
    Report,
    RunDone,
    Stop,
)
from init.limits import Stage, StageLimits, TotalLimits, defaults
from init.outcome import Outcome
from init.wire import Decoder, FrameError, encode

REPORT = Report(
    Outcome.SIGNALLED, 139, "SIGSEGV", 1.5, 0.25, 4096, b"\x00out", b"err\xff", 9, 4, "x"
)
ENVIRONMENT = Environment(("/nix/store/a", "/nix/store/b"), b'{"variables": {}}')
EVERY = (
    Delegated(1, {"memory": "memory/docker/x/jail"}),
    Job(
        "01J", 2, (JobFile("a/b", b"\x00\xff", protected=True), JobFile("run.sh", b"")),
        (Case(), Case(b"in\n", ("a b", "é"))), {Stage.RUN: defaults(Stage.RUN)}, ENVIRONMENT, 4,
        TotalLimits(7.5, 9),
    ),
    Job("01K", 1, (), (), {}, None),
    Ready(),
    DependenciesDone(REPORT, ENVIRONMENT),
    DependenciesDone(REPORT),
    CompileDone(REPORT),
    RunDone(3, REPORT),
    End(),
    Broken("why"),
    Build("e-1", (JobFile("shell.nix", b"1"),), defaults(Stage.DEPENDENCIES)),
    Planned(("/nix/store/a.drv",), ("/nix/store/b",)),
    Provided(b"/nix/store/b\n"),
    Stop(),
    Export(("a", "b")),
    Piece(b"\x00nar"),
    DependenciesDone(REPORT, ENVIRONMENT, ("a", "b")),
)  # fmt: skip


@pytest.mark.parametrize("frame", EVERY, ids=lambda frame: type(frame).__name__)
def test_frame_comes_back(frame):
    assert list(Decoder().feed(encode(frame))) == [frame]


def test_every_kind_of_frame_is_covered():
    assert {type(frame) for frame in EVERY} == set(frames.Frame.__args__)


def test_frames_split_at_every_offset_come_back():
    data = b"".join(map(encode, EVERY))
    for offset in range(len(data) + 1):
        decoder = Decoder()
        assert [*decoder.feed(data[:offset]), *decoder.feed(data[offset:])] == list(EVERY)
        assert decoder.pending == 0


def test_frames_come_back_byte_by_byte():
    decoder = Decoder()
    data = b"".join(map(encode, EVERY))
    assert [f for i in range(len(data)) for f in decoder.feed(data[i : i + 1])] == list(EVERY)


def test_cut_stream_is_pending():
    data = encode(RunDone(0, REPORT))
    for end in range(1, len(data)):
        decoder = Decoder()
        assert list(decoder.feed(data[:end])) == []
        assert decoder.pending > 0


limits = st.builds(StageLimits, *[st.integers(0, 2**40)] * 9)
files = st.builds(JobFile, st.text(), st.binary(), st.booleans())
environments = st.builds(Environment, st.lists(st.text()).map(tuple), st.binary())
jobs = st.builds(
    Job,
    st.text(),
    st.integers(1, 99),
    st.lists(files, max_size=4).map(tuple),
    st.lists(st.builds(Case, st.binary(), st.lists(st.text()).map(tuple)), max_size=4).map(tuple),
    st.fixed_dictionaries(dict.fromkeys(Stage, limits)),
    st.none() | environments,
)


@given(st.lists(jobs, max_size=3), st.integers(1, 97))
def test_any_jobs_come_back_in_pieces_of_any_size(sent, size):
    data = b"".join(map(encode, sent))
    decoder = Decoder()
    assert [f for i in range(0, len(data), size) for f in decoder.feed(data[i : i + size])] == sent


def framed(header: object) -> bytes:
    data = json.dumps(header).encode()
    return struct.pack("!I", len(data)) + data


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        struct.pack("!I", 3) + b"{{{",
        framed([]),
        framed({"frame": "ready"}),
        framed({"frame": "nonsense", "lengths": []}),
        framed({"frame": "run", "lengths": []}),
        framed({"frame": "ready", "lengths": [-1]}),
        framed({"frame": "ready", "lengths": [2**40]}),
        framed({"frame": "ready", "lengths": ["x"]}),
    ],
)
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(FrameError):
        list(Decoder().feed(data))
