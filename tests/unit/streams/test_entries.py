"""An entry has a largest size whatever events say, and the audit judges it as any other."""

from __future__ import annotations

import pytest

from streams.audit import judge
from streams.content import inline
from streams.entries import ENTRY_BYTES, MOST_BYTES, Entry, entry, least
from streams.events import CancelRequested
from streams.fold import fold_all
from streams.request import TestCase as Case
from tests.unit.streams.samples import EVENTS, at, known, started

STORY = known(EVENTS)
WHOLE = fold_all(STORY)


def asked(story, **fields):
    """The story of a request with other fields."""
    request = story[0].request.model_copy(update=fields)
    return [story[0].model_copy(update={"request": request}), *story[1:]]


WISH = CancelRequested(submission_id="s1", by="api@" + "h" * 300)
LONG = "float:0." + "0" * 8_000_000 + "1"
#: Each was accepted once, or may be said by a service of ours; today's API refuses the first.
IMMENSE = {
    "compare": asked(STORY, test_cases=(Case(compare=LONG),)),
    "arguments": asked(STORY, test_cases=(Case(args=("\x01" * 400_000,)),)),
    "why an attempt was lost": [*STORY[:6], at(started(2, "x" * 2_000_000), 7)],
    "a long timeline": [*STORY[:4], *(at(WISH, n) for n in range(5, 4_000))],
    "an author": [
        one.model_copy(update={"by": "w" * 1_500_000}) if one.event == "ran" else one
        for one in STORY
    ],
    "letters of three bytes": asked(STORY, test_cases=(Case(args=("\u4e00" * 360_000,)),)),
}


@pytest.mark.parametrize("what", IMMENSE)
def test_an_entry_is_bounded_whatever_an_event_says(what):
    state = fold_all(IMMENSE[what])
    kept = entry(state)
    assert kept.cut
    assert kept.elided
    assert len(kept.model_dump_json()) < 4096
    assert Entry.model_validate_json(kept.model_dump_json()) == kept
    seen = kept.submission
    assert (seen.id, seen.status, seen.sequence) == (state.id, state.status, state.sequence)
    assert [m.sequence for m in seen.timeline] == [1, state.sequence]


@pytest.mark.parametrize("what", IMMENSE)
def test_the_audit_agrees_with_entries_that_are_cut(what):
    story = IMMENSE[what]
    state, newer = fold_all(story), fold_all([*story, at(EVENTS[-1], 20_000)])
    last = state.sequence
    assert judge(state, entry(state), last) == "agree"
    assert judge(state, entry(newer), last) == "agree"
    assert judge(newer, entry(state), last) == "behind"
    assert judge(newer, entry(state), 20_000) == "differ"
    other = fold_all([at(STORY[0], 30_001), *(at(e, 30_001 + e.sequence) for e in STORY[1:])])
    assert judge(other, least(newer), 40_000) == "differ"
    assert judge(other, least(newer), 0) == "differ"


def test_below_the_bound_an_entry_says_nothing_of_a_cut():
    assert "cut" not in entry(WHOLE).model_dump_json()
    large = fold_all(asked(STORY, test_cases=(Case(stdin=inline(b"x" * ENTRY_BYTES)),)))
    kept = entry(large)
    assert (kept.elided, kept.cut) == (True, False)
    assert "cut" not in kept.model_dump_json()
    assert kept.submission.timeline == large.timeline
    fits = fold_all(asked(STORY, test_cases=(Case(args=("a" * (MOST_BYTES - 20_000),)),)))
    assert (entry(fits).elided, entry(fits).cut) == (True, False)


def test_contents_that_are_too_large_alone_are_not_written_to_be_measured(monkeypatch):
    large = fold_all(asked(STORY, test_cases=(Case(stdin=inline(b"x" * (ENTRY_BYTES + 1))),)))
    written = type(large).model_dump_json
    monkeypatch.setattr(type(large), "model_dump_json", lambda _: pytest.fail("written"))
    kept = entry(large)
    monkeypatch.setattr(type(large), "model_dump_json", written)
    assert kept.elided
