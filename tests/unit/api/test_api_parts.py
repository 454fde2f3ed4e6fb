"""The API's pure parts: ids, names, settings, views, languages, the docs page."""

from __future__ import annotations

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api import ids, names, raw
from api.health import Health
from api.languages import languages
from api.limits import GROUPS, LimitOverrides, resolve
from api.metrics import Metrics
from api.problems import Fault, Problem, invalid, response
from api.request import Reader
from api.schema import EXAMPLE, pointer
from api.settings import ApiSettings
from api.submit import story
from init.limits import TOTALS, Stage, total_defaults
from init.outcome import Outcome
from streams.fold import Submission
from streams.limits import Limits
from streams.results import StageResult


def test_later_ids_sort_later_and_all_are_words_of_a_subject():
    made = [ids.new_id(now_ms=ms) for ms in (0, 1, 31, 32, 1_800_000_000_000, 2**45)]
    assert made == sorted(made)
    for one in (*made, ids.new_id(), ids.id_of_key("x"), ids.id_of_retry("x")):
        assert re.fullmatch("[0-9a-z]{26}", one)
        assert ids.well_formed(one)
    assert len({ids.new_id() for _ in range(1000)}) == 1000


@given(st.text(), st.text())
def test_a_key_has_one_id(one, other):
    assert (ids.id_of_key(one) == ids.id_of_key(other)) == (one == other)


def test_ids_of_keys_never_meet_ids_of_times():
    assert ids.id_of_key("x")[0] == "k"
    assert ids.new_id()[0] == "0"


@given(st.text(max_size=20))
def test_a_name_without_fault_stays_below_the_work_folder(name):
    if names.fault_of(name) is None:
        parts = name.split("/")
        assert name
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in name


@given(st.binary(max_size=300))
def test_no_body_makes_anything_but_a_problem(data):
    with pytest.raises(Problem) as caught:
        Reader(ApiSettings()).read(data)
    assert caught.value.status == 422
    assert caught.value.errors


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "files", "name", "content", "encoding", "limits", "run", "wall_seconds", "test_cases",
            "stdin", "stdin_encoding", "args", "args_encoding", "compare", "expected_stdout",
            "cache", "stop_on_failure", "x",
        ]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["files", "limits", "test_cases", "cache", "env"]), JSON))
def test_no_json_makes_anything_but_a_problem(body):
    with pytest.raises(Problem) as caught:
        Reader(ApiSettings()).read(orjson.dumps(body))
    assert caught.value.status == 422
    response(caught.value)


def test_the_digest_of_a_request_is_of_its_meaning():
    reader = Reader(ApiSettings())
    one = reader.read(json.dumps(EXAMPLE, indent=3).encode())
    other = reader.read(json.dumps(dict(reversed(EXAMPLE.items()))).encode())
    assert one.sha256 == other.sha256
    assert one.sha256 != reader.read(orjson.dumps(EXAMPLE | {"cache": False})).sha256


@pytest.mark.parametrize(
    ("case", "args", "encoding"),
    [
        ({"args": ["a", "é"]}, ("a", "é"), "utf8"),
        ({"args": ["61", "c3a9"], "args_encoding": "hex"}, ("a", "é"), "utf8"),
        ({"args": ["YQ==", "/w=="], "args_encoding": "base64"}, ("YQ==", "/w=="), "base64"),
        ({"args": ["61", "ff"], "args_encoding": "hex"}, ("YQ==", "/w=="), "base64"),
    ],
)
def test_arguments_are_kept_as_text_where_they_are(case, args, encoding):
    kept = Reader(ApiSettings()).read(orjson.dumps(EXAMPLE | {"test_cases": [case]}))
    (found,) = kept.request.test_cases
    assert (found.args, found.args_encoding) == (args, encoding)


def test_a_file_that_is_marked_is_kept_as_protected():
    shell, run, main = EXAMPLE["files"]
    body = EXAMPLE | {"files": [shell, run | {"protected": False}, main | {"protected": True}]}
    accepted = Reader(ApiSettings()).read(orjson.dumps(body))
    assert [file.protected for file in accepted.request.files] == [False, False, True]
    plain = Reader(ApiSettings()).read(orjson.dumps(EXAMPLE))
    assert accepted.environment_id == plain.environment_id
    assert accepted.sha256 != plain.sha256  # not the same request, for an Idempotency-Key


@pytest.mark.parametrize("mark", ["yes", 1, None])
def test_a_mark_that_is_neither_true_nor_false_is_a_fault(mark):
    shell, run, main = EXAMPLE["files"]
    body = EXAMPLE | {"files": [shell, run, main | {"protected": mark}]}
    with pytest.raises(Problem) as refused:
        Reader(ApiSettings()).read(orjson.dumps(body))
    (fault,) = refused.value.errors
    assert fault.field == "/files/2/protected"
    assert "must be true or false" in fault.message


def test_only_the_shells_files_make_the_environment():
    reader = Reader(ApiSettings())
    shell, run, main = EXAMPLE["files"]
    first = reader.read(orjson.dumps(EXAMPLE))
    edited = reader.read(orjson.dumps(EXAMPLE | {"files": [shell, run, main | {"content": "2"}]}))
    other = reader.read(orjson.dumps(EXAMPLE | {"files": [shell | {"content": "x"}, run, main]}))
    assert first.environment_id == edited.environment_id != other.environment_id


def test_deps_queued_carries_the_shells_files_and_nothing_else():
    extra = [{"name": "nix/pin.json", "content": "{}"}, {"name": "a.txt", "content": ""}]
    body = EXAMPLE | {"files": [*EXAMPLE["files"], *extra]}
    accepted = Reader(ApiSettings()).read(orjson.dumps(body))
    submitted, queued = story(accepted, "s1", "c", None)
    assert [file.name for file in queued.files] == ["nix/pin.json", "shell.nix"]
    assert queued.environment_id == submitted.environment_id


def test_an_absent_limit_has_its_default():
    assert resolve(LimitOverrides(), {}) == Limits()
    some = resolve(LimitOverrides(), {"run": {"wall_seconds": 1}})
    assert some.run.wall_seconds == 1.0
    assert some.run.cpu_seconds == Limits().run.cpu_seconds


def test_a_lowered_maximum_lowers_its_default():
    lowered = LimitOverrides.model_validate({"run": {"wall_seconds": {"maximum": 3}}})
    assert resolve(lowered, {}).run.wall_seconds == 3


@pytest.mark.parametrize(
    "limits",
    [
        {"run": {"wall_seconds": {"default": 99}}}, {"run": {"nothing": {}}}, {"link": {}},
        {"run": {"wall_seconds": {"default": 0}}}, {"run": {"wall_seconds": 5}},
        {"run": {"processes": {"maximum": -1}}},
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves_stop_the_start(limits, monkeypatch):
    monkeypatch.setenv("SANDSTREAM_LIMITS", json.dumps(limits))
    with pytest.raises(ValidationError):
        ApiSettings()


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SANDSTREAM_PORT", "9")
    monkeypatch.setenv("SANDSTREAM_CHANNEL_REVISION", "r1")
    monkeypatch.setenv("SANDSTREAM_LIMITS", '{"run":{"processes":{"default":5}}}')
    settings = ApiSettings()
    assert (settings.port, settings.channel_revision) == (9, "r1")
    processes = next(bound for bound in GROUPS["run"] if bound.name == "processes")
    assert settings.limits.default(Stage.RUN, processes) == 5


def test_every_setting_is_described():
    assert all(field.description for field in ApiSettings.model_fields.values())


def test_every_limit_is_in_the_schema_with_its_maximum():
    schema = Reader(ApiSettings(memory_budget_bytes=2**40)).model.model_json_schema()
    for group, bounds in GROUPS.items():
        fields = schema["$defs"][f"{group.capitalize()}Limits"]["properties"]
        assert list(fields) == [bound.name for bound in bounds]
        for bound in bounds:
            assert fields[bound.name]["anyOf"][0]["maximum"] == bound.maximum
    assert set(GROUPS) == {*Stage, "total"}


def test_total_limits_have_the_defaults_and_maxima_that_the_issue_names():
    usual = total_defaults()
    assert (usual.wall_seconds, usual.output_bytes) == (600, 64 * 1024 * 1024)
    assert [total.maximum for total in TOTALS] == [3600, 256 * 1024 * 1024]


def test_total_limits_are_asked_for_and_overridden_as_the_others():
    body = EXAMPLE | {"limits": {"total": {"wall_seconds": 5, "output_bytes": 10}}}
    asked = Reader(ApiSettings()).read(orjson.dumps(body)).request.limits
    assert (asked.total.wall_seconds, asked.total.output_bytes) == (5.0, 10)
    changed = LimitOverrides.model_validate({"total": {"wall_seconds": {"maximum": 3}}})
    assert resolve(changed, {}).total.wall_seconds == 3
    with pytest.raises(Problem) as caught:
        Reader(ApiSettings(limits=changed)).read(orjson.dumps(body))
    assert [fault.field for fault in caught.value.errors] == ["/limits/total/wall_seconds"]
    assert "ask for at most 3" in caught.value.errors[0].message


def test_no_memory_limit_may_be_above_the_hosts_budget():
    settings = ApiSettings(memory_budget_bytes=2**31)
    body = EXAMPLE | {"limits": {"run": {"memory_bytes": 2**31 + 1}}}
    with pytest.raises(Problem) as caught:
        Reader(settings).read(orjson.dumps(body))
    assert caught.value.status == 422
    (fault,) = caught.value.errors
    assert fault.field == "/limits/run/memory_bytes"
    assert "ask for at most 2147483648" in fault.message
    fits = EXAMPLE | {"limits": {"dependencies": {"memory_bytes": 2**31}}}
    assert Reader(settings).read(orjson.dumps(fits)).request.limits.dependencies.memory_bytes
    with pytest.raises(ValidationError, match="default"):
        ApiSettings(
            memory_budget_bytes=2**30,
            limits={"run": {"memory_bytes": {"default": 2**31, "maximum": 2**32}}},
        )


def test_an_environment_has_no_total_limits():
    body = {"language": "python", "limits": {"total": {"wall_seconds": 5}}}
    with pytest.raises(Problem) as caught:
        Reader(ApiSettings()).read_shell(orjson.dumps(body))
    assert [fault.field for fault in caught.value.errors] == ["/limits/total"]


def test_a_pointer_is_escaped():
    assert pointer(("a/b", 0, "~")) == "/a~1b/0/~0"


def test_a_problem_lists_a_hundred_faults_at_most():
    body = json.loads(response(invalid([Fault("/x", "y")] * 250)).body)
    assert len(body["errors"]) == 100
    assert body["errors_left_out"] == 150


def test_languages_are_found_by_listing_their_folder(tmp_path):
    assert languages(tmp_path / "none") == []
    one = tmp_path / "python"
    one.mkdir()
    (one / "shell.nix").write_text("{ }")
    assert languages(tmp_path) == []
    (one / "run.sh").write_text("python3 main.py")
    (one / "main.py").write_text("print(1)")
    (one / "test_cases.json").write_text('[{"stdin": ""}]')
    (found,) = languages(tmp_path)
    assert found["name"] == "python"
    assert found["compile_sh"] is None
    names_ = [file["name"] for file in found["example"]["files"]]
    assert names_ == ["main.py", "run.sh", "shell.nix"]
    Reader(ApiSettings()).read(orjson.dumps(found["example"]))


def test_metrics_are_prometheus_text():
    metrics = Metrics()
    metrics.seen("GET", "/x", 200, 0.003)
    text = metrics.text(Health(10, 7, ()))
    assert 'sandstream_http_requests_total{method="GET",route="/x",status="200"} 1' in text
    assert 'sandstream_http_request_seconds_bucket{route="/x",le="0.0025"} 0' in text
    assert "sandstream_projector_lag_events 3" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# TYPE \w+ \w+|\w+(\{(\w+="[^"]*",?)+\})? [0-9.]+', line), line


def test_the_document_says_how_long_a_comparison_may_be():
    schema = Reader(ApiSettings(memory_budget_bytes=2**40)).model.model_json_schema()
    assert schema["$defs"]["TestCaseBody"]["properties"]["compare"]["maxLength"] == 64


def test_the_event_of_a_build_that_counts_no_more_is_none():
    """Of an attempt that was lost: the fold has no result either."""
    lost = Submission(how=None, dependencies=None)
    assert raw._event(lost, "dependencies", None) is None
    kept = StageResult(outcome=Outcome.OK)
    there = Submission(how="hit", dependencies=kept)
    assert raw._event(there, "dependencies", None) == "deps-built"
    own = Submission(how="in-container", dependencies=kept)
    assert raw._event(own, "dependencies", None) == "deps-built.in-container"
