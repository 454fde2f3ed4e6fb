"""The judge of every storm: it finds what is planted, one fault at a time, and no other.

Without this a storm whose judge has become blind would pass for ever.
"""

from __future__ import annotations

import pytest

from sandstream.state import State
from streams.events import Failed
from tests.reliability import findings
from tests.reliability.load import Sent
from tests.unit.streams import samples

GOOD = samples.EVENTS
SENT = [Sent("s1", "quick")]


def test_good_story_and_its_answer_are_right():
    sent = [Sent("s1", "quick", found={"status": "finished", "verdict": "accepted"})]
    assert findings.of_stories({"s1": GOOD}, sent) == []
    assert findings.of_answers({"s1": GOOD}, sent) == []


FAILED = Failed(submission_id="s1", by="worker@h", attempt=1, reasons=("a",))


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (None, "is not in the log"),
        (GOOD[:-1], "has 0 ends"),
        ([*GOOD, samples.cancelled()], "has 2 ends"),
        ([*GOOD[:-1], FAILED, GOOD[-2]], "has 1 ends"),  # something after its end
        ([*GOOD[:-1], samples.ran(), GOOD[-1]], "says twice"),
        ([*GOOD[:3], samples.started(2), *GOOD[4:]], "has attempts [2]"),
        ([*GOOD[:4], samples.started(3), *GOOD[4:]], "has attempts [1, 3]"),
    ],
)
def test_faults_of_a_story_are_found(story, words):
    found = findings.of_stories({} if story is None else {"s1": story}, SENT)
    assert [one for one in found if words in one], found


def test_answers_that_differ_are_found():
    failed = {"s1": [*GOOD[:-1], FAILED]}
    assert findings.of_answers(failed, SENT) == ["s1 (quick) is failed, expected accepted"]
    assert findings.of_answers({}, SENT) == ["s1 (quick) is None, expected accepted"]
    # the log is right, and its client was told something else
    told = [Sent("s1", "quick", found={"status": "finished", "verdict": "wrong-answer"})]
    wrong = "s1 (quick) is wrong-answer, expected accepted"
    assert findings.of_answers({"s1": GOOD}, told) == [wrong]


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine with folders of its own for all that is looked at; and the look."""
    state = State(tmp_path / "state")
    (tmp_path / "groups").mkdir()
    (tmp_path / "table").write_text("proc /proc proc rw 0 0\n")
    state.running.mkdir(parents=True)
    monkeypatch.setattr(findings, "containers", lambda _: [])

    def look():
        return findings.of_host(
            state, ["abc"], groups=tmp_path / "groups", table=tmp_path / "table"
        )

    return state, tmp_path, look


def test_clean_host_has_nothing(host):
    assert host[2]() == []


@pytest.mark.parametrize(
    ("left", "word"),
    [
        ("state/worker/w/scratch/one", "scratch"),
        ("state/run/builder/jobs/one", "job"),
        ("state/running/worker", "noted process"),
        ("groups/memory/docker/abc", "cgroup"),
        ("groups/docker/abc", "cgroup"),
        ("groups/system.slice/docker-abc.scope", "cgroup"),
    ],
)
def test_what_is_left_on_a_host_is_found(host, left, word):
    state, folder, look = host
    assert state.running.parent == folder / "state"
    (folder / left).mkdir(parents=True)
    assert [one.startswith(word) for one in look()] == [True]


def test_mount_and_container_that_are_left_are_found(host, monkeypatch):
    state, folder, look = host
    with (folder / "table").open("a") as table:
        table.write(f"none {state.folder}/x tmpfs rw 0 0\n")
    monkeypatch.setattr(findings, "containers", lambda _: ["one"])
    assert look() == ["container one", f"mount {state.folder}/x"]
