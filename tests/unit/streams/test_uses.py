"""What the read model keeps of an environment: its making, and how often it was used. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from init.outcome import Outcome
from projector.project import Stretch, used
from streams.archiving import why_not
from streams.content import inline
from streams.environments import Environment
from streams.events import DepsBuilt, DepsQueued
from streams.leaving import Open, Survey
from streams.limits import Limits
from streams.reading import Extent, Stored
from streams.results import StageResult

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def event(sequence, how, by="builder@one", **more):
    environment = Environment(
        id="e", path="/nix/store/e", closure=("/nix/store/e",), profile=inline(b""), size_bytes=7
    )
    fields = {"submission_id": f"s{sequence}", "environment": environment} | more
    return DepsBuilt(
        by=by, how=how, sequence=sequence, at=BEGAN + timedelta(seconds=sequence),
        result=StageResult(outcome=Outcome.OK), **fields,
    )  # fmt: skip


def test_a_making_and_its_uses_are_counted():
    events = [event(1, "built"), event(2, "joined"), event(3, "hit", by="builder@two")]
    told = used(None, events=events)
    assert (told.how, told.by, told.submission_id, told.sequence, told.size_bytes) == (
        "built", "builder@one", "s1", 1, 7,
    )  # fmt: skip
    assert (told.hits, told.last_used) == (2, BEGAN + timedelta(seconds=3))


def test_what_was_seen_before_changes_nothing():
    events = [event(1, "built"), event(2, "hit")]
    told = used(None, events=events)
    assert used(told, events=events) == told
    assert used(used(None, events=events[:1]), events=events) == told


def test_a_use_stands_for_a_making_that_is_older_than_the_log_until_it_is_made_again():
    told = used(None, events=[event(5, "hit"), event(6, "hit")])
    assert (told.how, told.sequence, told.hits) == ("hit", 5, 2)
    again = used(told, events=[event(9, "built", by="builder@two")])
    assert (again.how, again.sequence, again.by, again.hits) == ("built", 9, "builder@two", 2)


def test_a_stretch_takes_what_is_wanted_for_itself_for_no_submission_but_as_under_way():
    stretch = Stretch()
    queued = DepsQueued(
        submission_id="e", by="api", environment_id="e", channel="c", files=(), limits=Limits(),
        warm=True, sequence=1,
    )  # fmt: skip
    stretch.add(queued)
    assert (stretch.opened, stretch.by_submission, stretch.by_environment) == (1, {}, {})
    stretch.add(event(2, "built", warm=True, submission_id="e"))
    stretch.add(event(3, "in-container"))
    assert (stretch.opened, list(stretch.by_submission)) == (0, ["s3"])
    assert used(None, events=stretch.by_environment["e"]).last_sequence == 2


def stored(sequence, subject, name, **more):
    at = (BEGAN + timedelta(days=sequence)).isoformat()
    data = json.dumps({"event": name, "at": at} | more).encode()
    return Stored(sequence, data, {"Nats-Subject": subject})


def test_an_environment_that_waits_for_a_builder_keeps_its_period_and_is_no_submission():
    survey = Survey("month", BEGAN + timedelta(days=365))
    survey.add(stored(1, "submissions.a.submitted", "submitted"))
    survey.add(stored(2, "environments.e.deps-queued", "deps-queued"))
    survey.add(stored(3, "submissions.a.finished", "finished"))
    assert survey.open_from() == Open(2, "e", environment=True)
    said = why_not(survey, Extent(1, 3), BEGAN)
    assert "environment e waits for a builder" in said
    assert "submission" not in said
    assert "whoever asked for it withdraws" in said
    survey.add(stored(4, "environments.e.deps-built", "deps-built"))
    assert survey.open_from() is None
    assert set(survey.beginning_in(1, 4)) == {"a"}


def test_an_environment_waits_for_a_builder_until_the_last_caller_has_withdrawn():
    survey = Survey("month", BEGAN + timedelta(days=365))
    cancel = ("environments.e.cancel-requested", "cancel-requested")
    survey.add(stored(1, "environments.e.deps-queued", "deps-queued"))
    survey.add(stored(2, "environments.e.deps-queued", "deps-queued", again=True))
    survey.add(stored(3, *cancel, others=True))
    assert survey.open_from() == Open(1, "e", environment=True)
    survey.add(stored(4, *cancel, others=False))
    assert survey.open_from() is None
