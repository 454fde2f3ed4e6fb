"""What init does with a shell outside of every limit has a bound of its own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from init import shell
from init.frames import Environment


def test_no_more_of_a_path_is_looked_at_than_a_shell_can_mean(monkeypatch, tmp_path):
    looked = []
    monkeypatch.setattr(shell, "_executable", lambda _closure, path: looked.append(path))
    root = "/nix/store/" + "0" * 32 + "-x"
    folders = ":".join([*(f"{root}/{n}" for n in range(100_000)), *[f"{root}/0"] * 100_000])
    variables = {
        "BASH": {"type": "var", "value": f"{root}/bin/bash"},
        "PATH": {"type": "exported", "value": folders},
    }
    box = SimpleNamespace(ours=str(tmp_path))
    ready = shell.prepare(box, Environment((root,), json.dumps({"variables": variables}).encode()))
    assert ready.env is None
    assert 1000 < len(looked) == len(set(looked)) < shell._PATH_LETTERS / len(root)


def test_a_folder_of_megabytes_is_not_looked_at_part_by_part(monkeypatch):
    """Each part costs a look at all before it: a million would take a minute, under no clock."""
    monkeypatch.setattr(shell.os.path, "realpath", lambda path: pytest.fail(f"{len(path)}"))
    root = "/nix/store/" + "0" * 32 + "-x"
    assert not shell._executable({root}, f"{root}{'/a' * 3000}/env")
