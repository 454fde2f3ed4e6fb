"""`"language"` in a submission, as the API reads it: pure."""

from __future__ import annotations

import orjson
import pytest

from api.problems import Problem
from api.request import Reader
from api.schema import LANGUAGE_EXAMPLE
from api.settings import ApiSettings

READY = {"shell.nix": "{ }", "compile.sh": "make", "run.sh": "./main", "main.c": "its example"}


@pytest.fixture
def reader(tmp_path):
    for name, content in READY.items():
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / name).write_text(content)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "shell.nix").write_text("{ }")
    return Reader(ApiSettings(languages_folder=str(tmp_path)))


def accepted(reader: Reader, **body) -> dict[str, str]:
    request = reader.read(orjson.dumps(body)).request
    return {file.name: file.content.data for file in request.files}


def faults(reader: Reader, **body) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as raised:
        reader.read(orjson.dumps(body))
    assert raised.value.status == 422
    return [(fault.field, fault.message) for fault in raised.value.errors]


def file(name: str) -> dict[str, str]:
    return {"name": name, "content": "mine"}


def test_shell_and_scripts_are_added_and_the_example_is_not(reader):
    found = accepted(reader, language="c", files=[file("x.c")])
    ready = {name: READY[name] for name in ("shell.nix", "compile.sh", "run.sh")}
    assert found == {"x.c": "mine", **ready}


def test_the_clients_scripts_go_first(reader):
    found = accepted(reader, language="c", files=[file("compile.sh"), file("run.sh")])
    assert found == {"compile.sh": "mine", "run.sh": "mine", "shell.nix": "{ }"}


def test_the_environment_is_that_of_the_shell_sent_by_hand(reader):
    by_name = reader.read(orjson.dumps({"language": "c", "files": []}))
    files = [{"name": name, "content": READY[name]} for name in ("shell.nix", "run.sh")]
    by_hand = reader.read(orjson.dumps({"files": files}))
    assert by_name.environment_id == by_hand.environment_id


def test_null_is_none(reader):
    assert ("/files", "shell.nix") in [
        (field, message.split()[0]) for field, message in faults(reader, language=None, files=[])
    ]


@pytest.mark.parametrize("name", ["C", "half", "", "../c", "c/", "x" * 9999, "\ud7ff"])
def test_an_unknown_name_is_one_fault_that_lists_the_known(reader, name):
    ((field, message),) = faults(reader, language=name, files=[])
    assert field == "/language"
    assert message.endswith("is not there; these languages are: c")
    assert len(message) < 200


def test_a_shell_beside_a_language_is_refused(reader):
    ((field, message),) = faults(reader, language="c", files=[file("shell.nix")])
    assert field == "/language"
    assert "one of the two" in message


def test_every_other_fault_is_told_beside(reader):
    found = faults(reader, language="d", files=[file("../x")], cache="no", test_cases=[3])
    assert {field for field, _ in found} == {
        "/language", "/files/0/name", "/cache", "/test_cases/0",
    }  # fmt: skip


@pytest.mark.parametrize("value", [3, ["c"], {"c": 1}, True])
def test_a_name_of_another_kind_is_a_fault_of_shape(reader, value):
    assert "/language" in {field for field, _ in faults(reader, language=value, files=[])}


@pytest.mark.parametrize("files", [None, "c", [3], [{"name": ["shell.nix"]}], [{"name": 3}]])
def test_files_of_a_wrong_shape_are_a_fault_and_no_crash(reader, files):
    assert faults(reader, language="c", files=files)


def test_without_any_folder_every_name_is_unknown(tmp_path):
    reader = Reader(ApiSettings(languages_folder=str(tmp_path / "none")))
    ((_, message),) = faults(reader, language="c", files=[])
    assert message.endswith("these languages are: none")


def test_the_documented_example_is_accepted_with_the_languages_of_this_repository():
    reader = Reader(ApiSettings(languages_folder="nix/languages"))
    assert {"shell.nix", "main.rs"} <= accepted(reader, **LANGUAGE_EXAMPLE).keys()
    assert LANGUAGE_EXAMPLE in reader.model.model_json_schema()["examples"]
