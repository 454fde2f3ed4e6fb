"""The fold, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init.outcome import Outcome
from streams import events
from streams.events import Unknown, decode
from streams.fold import NOTHING, Status, fold, fold_all
from streams.results import StageResult
from tests.unit.streams.samples import (
    ALL,
    EVENTS,
    at,
    built,
    cancelled,
    known,
    queued,
    ran,
    started,
    submitted,
)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_each_known_event_sets_the_status_of_its_name(event):
    state = fold(NOTHING, at(event, 7))
    assert state.status.value == event.event
    assert state.sequence == 7
    assert state.timeline[-1].event == event.event
    assert state.ended == (event.event in events.TERMINAL)


def test_every_event_of_the_vocabulary_has_a_sample_and_a_status():
    assert {event.event for event in ALL} == set(events.NAMES)
    assert {status.value for status in Status} == {*events.NAMES, "none"}


def test_the_whole_story():
    state = fold_all(known(EVENTS))
    assert state.status is Status.FINISHED
    assert state.verdict == "accepted"
    assert state.how == "built"
    assert state.dependencies.ok
    assert state.compile.ok
    assert [run.case for run in state.runs] == [0]
    assert state.attempts == 1
    assert [moment.sequence for moment in state.timeline] == list(range(1, len(EVENTS) + 1))


def test_an_event_that_was_seen_changes_nothing():
    story = known(EVENTS)
    state = fold_all(story)
    for event in story:
        assert fold(state, event) is state


@given(st.lists(st.integers(0, len(EVENTS) - 1), max_size=30))
def test_events_that_come_twice_or_late_fold_as_once_in_order(extra):
    """A reader may see a stretch again; what matters is that the whole comes in order at last."""
    story = known(EVENTS)
    state = NOTHING
    high = 0
    for number in [*sorted(extra), *range(len(story))]:
        if number <= high:
            state = fold(state, story[number])
            high = max(high, number + 1)
    for event in story:
        state = fold(state, event)
    assert state == fold_all(story)


@given(st.integers(0, len(EVENTS)))
def test_a_fold_can_be_continued_anywhere(cut):
    story = known(EVENTS)
    assert fold_all(story[cut:], fold_all(story[:cut])) == fold_all(story)


def test_an_unknown_event_is_kept_and_leaves_the_status():
    state = fold_all(known(EVENTS[:3]))
    strange = decode(
        b'{"event":"zapped","submission_id":"s1","at":"2030-01-01T00:00:00Z","by":"x","q":1}',
        9,
        "submissions.s1.zapped",
    )
    assert isinstance(strange, Unknown)
    after = fold(state, strange)
    assert after.status is state.status
    assert after.unknown[0]["q"] == 1
    assert after.timeline[-1].event == "zapped"
    assert after.sequence == 9


def test_a_second_attempt_forgets_what_ran_and_keeps_what_was_built():
    story = known([*EVENTS[:-1], started(attempt=2, retry_because="the worker died")])
    state = fold_all(story)
    assert state.attempts == 2
    assert state.failures == ("the worker died",)
    assert state.runs == ()
    assert state.compile is None
    assert state.dependencies is not None


def test_a_second_attempt_forgets_what_a_container_had_made_for_itself():
    first = [submitted(cache=False), started(), built(how="in-container"), ran()]
    state = fold_all(known([*first, started(attempt=2, retry_because="x")]))
    assert state.dependencies is None
    assert state.how is None


def test_runs_are_in_order_of_their_cases_and_a_repeated_one_replaces():
    state = fold_all(known([submitted(), ran(2), ran(0), ran(1), ran(2, Outcome.CPU_TIME_LIMIT)]))
    assert [run.case for run in state.runs] == [0, 1, 2]
    assert state.runs[2].outcome is Outcome.CPU_TIME_LIMIT


def test_a_shell_that_cannot_be_built_is_a_result():
    failed = StageResult(outcome=Outcome.NONZERO_EXIT, exit_code=1)
    state = fold_all(known([submitted(), queued(), built(result=failed)]))
    assert not state.dependencies.ok
    assert state.environment is None


def test_a_cancel_is_remembered_while_others_go_on():
    state = fold_all(known([submitted(), queued(), events.CancelRequested(
        submission_id="s1", by="api"), built()]))  # fmt: skip
    assert state.cancel_requested
    assert state.status is Status.DEPS_BUILT
    assert fold(state, at(cancelled(), 99)).status is Status.CANCELLED
