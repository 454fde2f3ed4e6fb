"""Folders of jobs, and what an earlier life left."""

from __future__ import annotations

import pytest

from builder.daemon import Daemon, limits_for, told
from builder.jobs import Places, remove_roots
from init.frames import Delegated
from init.limits import GIB, Stage, defaults


@pytest.fixture
def places(tmp_path):
    made = Places(tmp_path / "run", tmp_path / "state", tmp_path / "cgroups")
    made.clear(set())
    return made


def test_a_jobs_folders_go_with_the_job(places):
    with places.job("j") as job:
        (job.scratch / "deep").mkdir()
        (job.scratch / "deep" / "file").write_text("x")
        (job.scratch / "deep").chmod(0o500)
        (job.scratch / "link").symlink_to("/etc")
    assert not job.folder.exists()
    assert not job.scratch.exists()


def test_what_an_earlier_life_left_is_removed(places, tmp_path):
    (places.jobs / "old").mkdir()
    (places.jobs / "old" / "socket").touch()
    (places.scratch / "old").mkdir()
    (tmp_path / "cgroups/memory/jail/old").mkdir(parents=True)
    places.clear({"memory/jail"})
    assert not any(places.jobs.iterdir())
    assert not any(places.scratch.iterdir())
    assert not any((tmp_path / "cgroups/memory/jail").iterdir())


def test_roots_of_killed_builds_are_removed_and_nothing_else(tmp_path):
    store = tmp_path / "store"
    (store / "h-x.drv.chroot/root/nix").mkdir(parents=True)
    (store / "h-x").mkdir()
    remove_roots(tmp_path)
    assert [path.name for path in store.iterdir()] == ["h-x"]


def test_a_keeper_is_told_everything_on_its_command_line():
    daemon = Daemon(
        "j", "/run/j", "/scratch/j", "/nix", "/cgroup", Delegated(1, {"pids": "pids/jail"}),
        defaults(Stage.DEPENDENCIES),
    )  # fmt: skip
    argv = daemon.argv()
    assert argv[1:-1] == ["-P", "-s", "-S", "-m", "builder.daemon"]
    assert told(argv[-1]) == daemon


def test_a_daemon_may_write_the_stores_database_whatever_the_request_says():
    from dataclasses import replace

    asked = replace(defaults(Stage.DEPENDENCIES), file_size_bytes=1, memory_bytes=5)
    given = limits_for(asked)
    assert (given.file_size_bytes, given.memory_bytes) == (GIB, 5)
    assert given.wall_seconds > asked.wall_seconds
