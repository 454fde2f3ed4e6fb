"""What a dead container left in the tree of cgroups, in both versions' shapes."""

from __future__ import annotations

import pytest

from worker import cgroups


@pytest.mark.parametrize(
    "place", ["memory/docker/ID", "pids/docker/ID", "system.slice/docker-ID.scope", "docker/ID"]
)
def test_leftovers_are_removed_and_others_stay(tmp_path, place):
    mine = tmp_path / place.replace("ID", "mine")
    (mine / "jail" / "run-0").mkdir(parents=True)
    other = tmp_path / place.replace("ID", "other")
    other.mkdir()
    assert cgroups.remove(tmp_path, "mine") == []
    assert not mine.exists()
    assert other.exists()


def test_what_does_not_go_is_told(tmp_path):
    busy = tmp_path / "memory" / "docker" / "mine"
    busy.mkdir(parents=True)
    (busy / "file").touch()
    assert cgroups.remove(tmp_path, "mine") == [busy]
