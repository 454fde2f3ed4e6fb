"""Recorded histories, replayed for ever: a file is added, never edited.

`NAME.jsonl` holds messages as the stream held them, one in a line, with sequences from 1.
`NAME.json` holds the object that a client was shown for them then. A later version may add fields
to it; a change of the fold that takes one away or changes it shows here. A new history:
`python tests/histories/expected.py NAME`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.models import SubmissionAnswer
from api.views import whole
from streams.events import NAMES, parse
from streams.fold import fold_all

FOLDER = Path(__file__).parents[2] / "histories"
HISTORIES = sorted(FOLDER.glob("*.jsonl"))


def replayed(file):
    lines = file.read_bytes().splitlines()
    return [parse(line, sequence) for sequence, line in enumerate(lines, start=1)]


def recorded(file):
    return json.loads(file.with_suffix(".json").read_text())


def of_then(shown, then):
    """What is shown, without the fields that it did not have then."""
    if isinstance(shown, dict) and isinstance(then, dict):
        return {name: of_then(value, then[name]) for name, value in shown.items() if name in then}
    if isinstance(shown, list) and isinstance(then, list) and len(shown) == len(then):
        return [of_then(*pair) for pair in zip(shown, then, strict=True)]
    return shown


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_recorded_history_still_makes_the_same_object(file):
    shown = whole(fold_all(replayed(file)), {})
    assert of_then(shown, recorded(file)) == recorded(file)
    SubmissionAnswer.model_validate(shown)


@pytest.mark.parametrize("digits", [32, 64])
def test_ids_of_both_lengths_are_read(digits):
    """An environment's id has all 256 bits since version 2; older logs keep theirs."""
    seen = [event for file in HISTORIES for event in replayed(file)]
    ids = {event.environment_id for event in seen if event.event == "deps-queued"}
    built = {e.environment.id for e in seen if e.event == "deps-built" and e.environment}
    assert any(len(id_) == digits for id_ in ids & built)


def test_a_withdrawn_environment_is_wanted_until_its_last_caller_has_left():
    told = replayed(FOLDER / "withdrawn.jsonl")
    states = [fold_all(told[:count]) for count in range(1, 5)]
    assert [state.wanted_by for state in states] == [
        ("grader",), ("grader", "notebook"), ("notebook",), (),
    ]  # fmt: skip
    assert [state.status for state in states] == ["deps-queued"] * 3 + ["cancel-requested"]
    assert [state.cancel_requested for state in states] == [False] * 3 + [True]
    again = told[0].model_copy(update={"sequence": 5})
    assert not fold_all([*told, again]).cancel_requested


def test_every_event_stands_in_some_history():
    seen = {event.event for file in HISTORIES for event in replayed(file)}
    assert set(NAMES) <= seen
    assert "zapped" in seen


def test_the_ways_that_design_names_are_recorded():
    assert {
        "cached", "uncached", "fallback", "failed-shell", "cancelled", "retried", "failed",
        "unknown-event", "older-version", "total-output",
    } <= {file.stem for file in HISTORIES}  # fmt: skip
