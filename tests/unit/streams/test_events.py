"""Events on the wire: nothing is lost, nothing damaged passes, subjects are docs/flows.md's."""

from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import events
from streams.errors import Undecodable
from streams.events import Unknown, decode, encode, record, subject
from tests.unit.streams.samples import ALL, at, built, ran, submitted


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_what_is_encoded_is_decoded(event):
    assert decode(encode(event), 5, subject(event)) == at(event, 5)
    assert b'"sequence"' not in encode(event)
    assert record(at(event, 5))["sequence"] == 5


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"1", b"null", b"{}", b"\xff", b'"submitted"',
        b'{"event":"submitted","submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x"}',
        b'{"event":"zapped","submission_id":"s1","by":"x"}',
        b'{"event":"zapped","submission_id":"*","at":"2030-01-01T00:00:00Z","by":"x"}',
        b'{"event":7,"submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x"}',
        b'{"event":["submitted"],"submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x"}',
        b'{"event":{},"submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x"}',
    ],
)  # fmt: skip
def test_what_is_no_event_is_undecodable_with_its_sequence(data):
    with pytest.raises(Undecodable) as caught:
        decode(data, 17, "submissions.s1.zapped")
    assert caught.value.sequence == 17


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    with suppress(Undecodable):
        decode(data, 1, "submissions.s1.zapped")


def test_an_unknown_event_keeps_every_field():
    data = {
        "event": "zapped", "submission_id": "s1", "at": "2030-01-01T00:00:00Z", "by": "x",
        "attempt": 2, "deep": {"a": [1, None]},
    }  # fmt: skip
    event = decode(orjson.dumps(data), 3, "submissions.s1.zapped")
    assert isinstance(event, Unknown)
    assert record(event) == data | {"sequence": 3}


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_an_event_at_another_subject_than_its_own_is_none(event):
    root, id_, name, *_ = subject(event).split(".")
    for other in (
        f"{root}.{id_}.other",
        f"{root}.s2.{name}",
        f"{subject(event)}.x",
        f"x.{id_}.{name}",
    ):
        with pytest.raises(Undecodable, match="is not its subject"):
            decode(encode(event), 5, other)


def test_an_answer_of_the_server_is_no_event():
    with pytest.raises(Undecodable, match="nobody said it"):
        decode(encode(submitted()), 5, "submissions.s1.submitted", {events.REPEATED: "yes"})


def test_subjects():
    assert subject(submitted()) == "submissions.s1.submitted"
    assert subject(submitted(cache=False)) == "submissions.s1.submitted.uncached"
    assert subject(built()) == "submissions.s1.deps-built"
    assert subject(built("in-container")) == "submissions.s1.deps-built.in-container"
    assert subject(ran(3)) == "submissions.s1.ran.3"
    assert events.guard("s1") == "submissions.s1.>"


@pytest.mark.parametrize("id_", ["", "A", "a.b", "*", ">", "a b", "ä"])
def test_an_id_is_one_word_of_a_subject(id_):
    with pytest.raises(ValueError, match="submission_id"):
        events.Cancelled(submission_id=id_, by="x")
