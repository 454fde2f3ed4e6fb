"""Folders that submissions of an earlier life left: none of them keeps a worker from its start."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from init import folders
from tests.unit.init.trees import deep
from worker.engine import Engine
from worker.leftovers import kept_clean


class Containers:
    async def list(self, **_):
        return []


@pytest.fixture
def host(tmp_path):
    plan = SimpleNamespace(worker="w", scratch=tmp_path / "scratch")
    plan.scratch.mkdir()
    return Engine(SimpleNamespace(containers=Containers()), plan, Path("/socket"))


def left_in(host, *names):
    for name in names:
        (host._plan.scratch / name).mkdir()
    return host._plan.scratch


async def test_deep_trees_of_submissions_go_at_the_start(host):
    scratch = left_in(host, "old", "older")
    deep(scratch / "old", "d", 1500)
    deep(scratch / "older", "x" * 200, 25)
    async with kept_clean(host):
        assert not any(scratch.iterdir())


async def test_a_folder_that_does_not_go_keeps_no_other_and_no_worker(host, monkeypatch, caplog):
    scratch = left_in(host, "a", "b", "c")
    really = folders.remove

    def remove(path):
        if path.endswith("b"):
            raise PermissionError(1, "Operation not permitted", path)
        really(path)

    monkeypatch.setattr(folders, "remove", remove)
    with caplog.at_level(logging.WARNING):
        async with kept_clean(host):
            assert [path.name for path in scratch.iterdir()] == ["b"]
    assert "can't be removed" in caplog.text


async def test_what_a_live_submission_has_stays(host):
    scratch = left_in(host, "mine", "old")
    host._own.add("mine")
    async with kept_clean(host):
        assert [path.name for path in scratch.iterdir()] == ["mine"]
