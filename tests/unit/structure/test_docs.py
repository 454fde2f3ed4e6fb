"""The docs say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from api.health import Health
from api.metrics import Metrics
from streams import events

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("file", generate.documents(), ids=lambda f: f.name)
def test_generated_parts_are_up_to_date(file):
    text = file.read_text()
    assert generate.render(text) == text, "run `.venv/bin/python docs/generate.py`"


def sources():
    packages = ("api", "builder", "egress", "init", "projector", "streams", "worker")
    besides = ("deploy", "nix", "sandstream")
    return [file for name in (*packages, *besides) for file in (ROOT / name).rglob("*.py")]


def test_every_settings_class_is_in_the_table():
    found = {
        name
        for file in sources()
        for name in re.findall(r"^class (\w+)\(BaseSettings\)", file.read_text(), re.MULTILINE)
    }
    assert found == {name for _, name, _ in generate.SETTINGS}


#: Told by one of our processes to another; nobody sets it.
BETWEEN_US = {"SANDSTREAM_BUILDER_UID"}


def test_every_variable_that_the_code_reads_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    words = re.findall(r"SANDSTREAM_[A-Z0-9_]*[A-Z0-9]", "".join(f.read_text() for f in sources()))
    assert {word for word in set(words) - BETWEEN_US if f"`{word}`" not in readme} == set()


def test_defaults_that_differ_are_all_in_the_table():
    row = next(line for line in generate.settings().splitlines() if "CHANNEL_REVISION" in line)
    assert "| api, builder | api: `offline`, builder: required |" in row


def test_every_setting_has_a_description():
    assert [row[0] for row in generate.setting_rows() if not row[3]] == []


def test_every_event_has_a_recorded_history():
    histories = "".join(f.read_text() for f in (ROOT / "tests" / "histories").glob("*.jsonl"))
    assert [name for name in events.NAMES if f'"{name}"' not in histories] == []


def test_every_metric_is_in_the_table():
    page = (ROOT / "docs" / "api.md").read_text()
    text = Metrics().text(Health(last_sequence=1, checkpoint=1, faults=()))
    names = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert len(names) > 3
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_test_that_the_threat_model_names_is_there():
    page = (ROOT / "docs" / "threat-model.md").read_text()
    folders = "tests|init|builder|api|streams|worker|deploy|sandstream"
    paths = set(re.findall(rf"`((?:{folders})/[\w./]*)`", page))
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    names = set(re.findall(r"`(test_\w+)`", page))
    suite = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert names
    assert [name for name in names if f"def {name}(" not in suite] == []
