"""The steps of an attack tell of each what became of it, and a mistake is no defence."""

from __future__ import annotations

import subprocess
import sys

from tests.steps import nix_string, program, told


def run(steps: dict[str, str], before: str = "") -> bytes:
    argv = [sys.executable, "-c", program(steps, before)]
    return subprocess.run(argv, capture_output=True, check=False).stdout


def test_no_step_ends_another_and_each_tells_its_own(tmp_path):
    steps = {
        "missing": f"os.listdir('{tmp_path}/missing')",
        "own": f"write('{tmp_path}/own')",
        "mistake": "os.nope()",
        "call": "call(3, 999)",  # close
        "exit": "sys.exit(3)",
    }
    found = told(run(steps))
    assert {name: answer.partition(":")[0] for name, answer in found.items()} == {
        "missing": "ENOENT", "own": "done", "mistake": "mistake", "call": "EBADF",
        "exit": "mistake",
    }  # fmt: skip
    assert (tmp_path / "own").read_text() == "x"


def test_what_can_not_be_prepared_reports_nothing():
    assert told(run({"a": "pass"}, before="1 / 0")) == {}


def test_nix_reads_back_what_was_quoted():
    assert nix_string('a "b" \\ ${c}\n') == '"a \\"b\\" \\\\ \\${c}\\n"'
