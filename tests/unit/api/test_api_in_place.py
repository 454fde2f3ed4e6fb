"""Which outputs stand in the object, and which are left to the raw call."""

from __future__ import annotations

import orjson
import pytest

from api import views
from init.outcome import Outcome
from streams.content import by_digest, inline
from streams.fold import Submission
from streams.results import RunResult

MIB = 1024 * 1024
FITTING = views.IN_PLACE_TOTAL_BYTES // MIB


def submission(*outputs: bytes) -> Submission:
    runs = (
        RunResult(case=n, outcome=Outcome.OK, stdout=by_digest(data))
        for n, data in enumerate(outputs)
    )
    return Submission(id="a", runs=tuple(runs))


def shown(state: Submission, *outputs: bytes) -> list[bool]:
    fetched = {by_digest(data).sha256 or "": data for data in outputs}
    return [run["stdout"] is not None for run in views.whole(state, fetched)["runs"]]


def test_an_object_has_a_largest_size_however_often_it_names_one_blob():
    data = b"x" * MIB
    state = submission(*[data] * 512)
    assert shown(state, data) == [True] * FITTING + [False] * (512 - FITTING)
    assert len(views.wanted(state)) == FITTING


def test_what_is_too_large_alone_takes_no_room_from_others():
    large, small = b"x" * (MIB + 1), b"y" * MIB
    state = submission(large, small)
    assert shown(state, large, small) == [False, True]
    assert [content.size for content in views.wanted(state)] == [MIB]


def test_smaller_ones_fill_what_a_larger_one_leaves():
    large, small = b"x" * MIB, b"y" * 1000
    state = submission(*[large] * (FITTING - 1), small, large, small)
    assert shown(state, large, small)[-3:] == [True, False, True]


@pytest.mark.parametrize("byte", [b"\x01", b"x", b"\xff"])
def test_contents_of_events_count_by_what_they_take_in_the_object(byte):
    """64 KiB of control characters are 384 KiB of JSON: 512 cases of them would be 384 MiB."""
    data = inline(byte * 65536)
    runs = tuple(
        RunResult(case=n, outcome=Outcome.OK, stdout=data, stderr=data, stdout_total=65536)
        for n in range(512)
    )
    state = Submission(id="a", runs=runs)
    made = views.whole(state, {})
    json = orjson.dumps(made)
    one = len(orjson.dumps(data.data)) - 2
    fitting = min(views.IN_PLACE_TOTAL_BYTES // one, 1024)
    assert len(json) < views.IN_PLACE_TOTAL_BYTES + MIB
    texts = [run[name] is not None for run in made["runs"] for name in ("stdout", "stderr")]
    assert texts == [True] * fitting + [False] * (1024 - fitting)
    assert {run["stdout_encoding"] for run in made["runs"]} == {data.encoding}
    assert {run["stdout_total"] for run in made["runs"]} == {65536}
    assert orjson.loads(json)["runs"][0]["stdout"] == data.data


def test_blobs_count_by_what_they_take_in_the_object_too():
    data = b"\x01" * MIB
    state = submission(*[data] * 64)
    assert shown(state, data) == [True] * (FITTING // 6) + [False] * (64 - FITTING // 6)


def test_what_events_hold_leaves_less_room_for_blobs():
    large, small = b"x" * MIB, inline(b"y" * 65536)
    runs = [RunResult(case=n, outcome=Outcome.OK, stdout=small) for n in range(16)]
    blobs = submission(*[large] * FITTING).runs
    state = Submission(id="a", runs=(*runs, *blobs))
    assert len(views.wanted(state)) == FITTING - 1
    assert shown(state, large) == [True] * (16 + FITTING - 1) + [False]
