"""Which outputs stand in the object, and which are left to the raw call."""

from __future__ import annotations

from api import views
from init.outcome import Outcome
from streams.content import by_digest
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
