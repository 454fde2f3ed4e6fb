"""The demo's submissions, and its judgement of what came of them."""

from __future__ import annotations

import base64
import io

import pytest
from rich.console import Console

from sandstream.folder import NoSubmissionError, load
from sandstream.replay import NotReplayableError, asked, body
from sandstream.replay import differences as changes
from sandstream.report import bytes_words, stage_table
from sandstream.scenes import EXAMPLES, SCENES, differences
from sandstream.sse import ServerEvent
from sandstream.watch import Row, Watch

SCENE = SCENES[0]


def result(outcome="ok", stdout="", **more):
    return {
        "outcome": outcome,
        "exit_code": 0,
        "signal": None,
        "wall_seconds": 0.5,
        "cpu_seconds": 0.25,
        "memory_peak_bytes": 5 * 1024 * 1024,
        "stdout": stdout,
        "stderr": "",
        **more,
    }


def good():
    runs = [result(stdout="5 numbers, sum 14, largest 5\n", verdict="accepted"), result()]
    return {"dependencies": result(), "compile": None, "runs": runs, "verdict": "accepted"}


def test_what_went_as_it_must_has_no_differences():
    assert differences(SCENE, SCENE.events, "hit", good()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "wrong-answer"}, "verdict was wrong-answer"),
        ({"dependencies": result("memory-limit")}, "outcomes were"),
        ({"runs": [result(), result()]}, "run 1 wrote"),
    ],
)
def test_each_difference_is_told(change, words):
    (told,) = differences(SCENE, SCENE.events, "hit", good() | change)
    assert words in told


def test_a_missing_event_and_a_wrong_how_are_told():
    told = differences(SCENE, SCENE.events[:-1], "in-container", good())
    assert [words.split()[0] for words in told] == ["events", "deps-built"]


@pytest.mark.parametrize("folder", sorted(EXAMPLES.glob("*/")), ids=lambda path: path.name)
def test_every_example_is_a_submission(folder):
    names = {file["name"] for file in load(folder)["files"]}
    assert {"shell.nix", "run.sh"} <= names
    assert "submission.json" not in names


def test_a_fresh_scene_brings_another_shell_each_time():
    fresh = next(scene for scene in SCENES if scene.fresh)
    shells = {
        file["content"]
        for token in "ab"
        for file in fresh.body(token)["files"]
        if file["name"] == "shell.nix"
    }
    assert len(shells) == 2


def test_a_file_that_is_no_text_goes_as_base64(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_bytes(b"\xff\x00")
    (file,) = load(tmp_path)["files"]
    assert file == {
        "name": "data/x",
        "content": base64.b64encode(b"\xff\x00").decode(),
        "encoding": "base64",
    }


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(NoSubmissionError):
        load(tmp_path / "nothing")


def test_a_replay_leaves_out_what_was_absent_and_compares_what_a_program_decides():
    case = {
        "stdin": "",
        "stdin_encoding": "utf8",
        "args": [],
        "expected_stdout": None,
        "expected_stdout_encoding": "utf8",
        "compare": "trailing",
    }
    request = {"files": [], "cache": True, "limits": {}, "test_cases": [case]}
    recorded = {"files": [], "test_cases": [case | {"stdin": {"data": ""}}]}
    (sent,) = body({"request": request}, recorded)["test_cases"]
    assert set(sent) == {"stdin", "stdin_encoding", "args", "compare"}
    slower = good()
    slower["runs"][1]["wall_seconds"] = 9.0
    assert list(changes(good(), slower)) == []
    slower["runs"][1]["exit_code"] = 3
    assert list(changes(good(), slower)) == ["run 2: exit_code was 0, is 3"]


@pytest.mark.parametrize("large", ["stdin", "expected_stdout"])
def test_a_replay_sends_nothing_empty_that_was_too_large_to_be_shown(large):
    case = {"stdin": "", "expected_stdout": ""} | {large: None}
    request = {"files": [], "test_cases": [{"stdin": "", "expected_stdout": None}, case]}
    kept = {"stdin": {"data": ""}, "expected_stdout": None}
    recorded = {"files": [], "test_cases": [kept, kept | {large: {"data": None, "sha256": "x"}}]}
    with pytest.raises(NotReplayableError, match=f"{large} of test case 1 is too large"):
        body({"request": request}, recorded)


class Told:
    """A client that is told these events."""

    def __init__(self, *events):
        self._events = events

    async def events(self, id_):
        for event in self._events:
            yield event


async def test_a_replay_asks_the_first_event_what_was_there():
    request = {"files": [], "test_cases": [{"stdin": None, "expected_stdout": None}]}
    recorded = {"files": [], "test_cases": [{"stdin": {"data": None}, "expected_stdout": None}]}
    first = ServerEvent("submitted", 1, {"request": recorded})
    found = {"id": "a", "request": request}
    with pytest.raises(NotReplayableError, match="stdin of test case 0"):
        await asked(Told(first, ServerEvent("started", 2, {})), found)
    recorded["test_cases"][0]["stdin"] = None
    assert await asked(Told(first), found) == request | {"test_cases": [{}]}
    with pytest.raises(NotReplayableError, match="no first event"):
        await asked(Told(), found)


def test_without_a_terminal_each_event_is_a_line():
    out = io.StringIO()
    row = Row("title", 2)
    watch = Watch(Console(file=out, width=80), [row])
    with watch.shown():
        watch.start(row)
        watch.see(row, ServerEvent("deps-built", 3, {"how": "hit"}))
        watch.see(row, ServerEvent("ran", 4, {"result": {"case": 0}}))
        watch.see(row, ServerEvent("finished", 5, {"verdict": "ok"}))
    lines = [line.split("ms")[-1].strip() for line in out.getvalue().splitlines()]
    assert lines == ["title", "deps-built (hit)", "ran 1/2", "finished"]
    assert row.verdict == "ok"


def test_the_table_shows_figures_and_the_first_lines():
    out = io.StringIO()
    Console(file=out, width=120).print(stage_table(good()))
    assert "run 1        accepted" in out.getvalue()
    assert "5.0 MiB" in out.getvalue()
    assert "stdout │ 5 numbers, sum 14" in out.getvalue()
    assert bytes_words(3 * 1024**3) == "3.0 GiB"
