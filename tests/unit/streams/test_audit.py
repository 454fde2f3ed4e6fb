"""What the audit says of an entry, and of an event."""

from __future__ import annotations

import pytest

from streams.audit import Replay, as_json, judge, line
from streams.content import inline
from streams.entries import ENTRY_BYTES, Entry, entry
from streams.errors import Undecodable
from streams.fold import Status, fold_all
from streams.request import File
from tests.unit.streams.samples import ALL, EVENTS, at, known

STORY = known(EVENTS)
WHOLE = fold_all(STORY)
PART = fold_all(STORY[:4])
LIE = WHOLE.model_copy(update={"status": Status.FAILED})
OTHER = fold_all([*STORY[:3], at(ALL[7], 4)])


@pytest.mark.parametrize(
    ("state", "stored", "checkpoint", "says"),
    [
        (WHOLE, entry(WHOLE), 7, "agree"),
        (WHOLE, None, 0, "behind"),
        (WHOLE, None, 7, "differ"),
        (WHOLE, entry(PART), 4, "behind"),
        (WHOLE, entry(PART), 7, "differ"),
        (WHOLE, entry(OTHER), 4, "differ"),
        (WHOLE, Entry(submission=LIE), 7, "differ"),
        (WHOLE, entry(WHOLE).model_copy(update={"elided": True}), 7, "differ"),
        (PART, entry(WHOLE), 7, "agree"),
        (OTHER, entry(WHOLE), 7, "differ"),
    ],
)
def test_an_entry_agrees_is_behind_or_differs(state, stored, checkpoint, says):
    assert judge(state, stored, checkpoint) == says


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_every_event_has_a_line_for_a_person(event):
    shown = line(at(event, 12))
    assert "\n" not in shown
    assert shown.split()[0] == "12"
    assert event.event in shown
    assert as_json(at(event, 12))["sequence"] == 12


def test_damage_is_counted_and_shown():
    replay = Replay()
    for item in (*STORY, Undecodable(8, "no JSON\nat all")):
        replay.add(item)
    assert (replay.events, replay.damaged) == (7, 1)
    assert replay.states == {"s1": WHOLE}
    assert line(Undecodable(8, "no JSON\nat all")) == "       8  DAMAGED: no JSON"


def test_an_entry_above_its_size_leaves_out_contents_and_nothing_else():
    file = File(name="big", content=inline(b"x" * ENTRY_BYTES))
    request = WHOLE.request.model_copy(update={"files": (*WHOLE.request.files, file)})
    large = WHOLE.model_copy(update={"request": request})
    kept = entry(large)
    assert kept.elided
    assert len(kept.model_dump_json()) < ENTRY_BYTES / 10
    assert kept.submission.timeline == WHOLE.timeline
    assert kept.submission.status is WHOLE.status
    assert [one.name for one in kept.submission.request.files][-1] == "big"
