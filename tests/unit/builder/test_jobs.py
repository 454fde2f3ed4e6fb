"""Folders of jobs, and what an earlier life left."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import closing

import pytest

from builder import aside as asides
from builder import jobs
from builder.aside import Aside, removed
from builder.daemon import Daemon, read
from builder.jobs import Places, put_roots_aside
from builder.shared import Shared
from init.frames import Delegated
from init.limits import Stage, defaults
from tests.unit.init.trees import deep

LONG = "x" * 200


@pytest.fixture
def places(tmp_path):
    made = Places(tmp_path / "run", tmp_path / "state", tmp_path / "cgroups")
    made.clear(set())
    return made


@pytest.fixture
def shared(tmp_path):
    made = Shared(tmp_path / "nix")
    (tmp_path / "nix/store").mkdir(parents=True)
    made.make()
    return made


async def test_a_jobs_folders_go_with_the_job(places):
    async with places.job("j") as job:
        (job.scratch / "deep").mkdir()
        (job.scratch / "deep" / "file").write_text("x")
        (job.scratch / "deep").chmod(0o500)
        (job.scratch / "link").symlink_to("/etc")
        deep(job.scratch, LONG, 25)
        deep(job.scratch, "d", 1500)
    assert not job.folder.exists()
    assert not job.scratch.exists()


async def test_the_loop_turns_while_a_jobs_folders_are_removed(places, monkeypatch):
    monkeypatch.setattr(jobs, "removed", lambda *trees: time.sleep(0.5) or removed(*trees))
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    async with places.job("j") as job:
        before = turns
    assert turns > before + 5
    assert not job.scratch.exists()
    turning.cancel()


async def test_a_job_that_is_cancelled_leaves_nothing_either(places):
    began = asyncio.Event()

    async def work():
        async with places.job("j"):
            began.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # while its folders are removed
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        while any(places.scratch.iterdir()) or any(places.jobs.iterdir()):
            await asyncio.sleep(0.01)


def test_what_an_earlier_life_left_is_removed(places, tmp_path):
    (places.jobs / "old").mkdir()
    (places.jobs / "old" / "socket").touch()
    (places.scratch / "old").mkdir()
    deep(places.scratch / "old", LONG, 25)
    (tmp_path / "cgroups/memory/jail/old").mkdir(parents=True)
    places.clear({"memory/jail"})
    assert not any(places.jobs.iterdir())
    assert not any(places.scratch.iterdir())
    assert not any((tmp_path / "cgroups/memory/jail").iterdir())
    places.aside.empty()
    assert not any(places.aside.folder.iterdir())


def unremovable(monkeypatch):
    def never(path):
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(asides.folders, "remove", never)


def test_a_start_is_stopped_by_nothing_that_was_left(places, monkeypatch, caplog):
    (places.jobs / "old").mkdir()
    (places.scratch / "old").mkdir()
    unremovable(monkeypatch)
    places.clear(set())
    assert not any(places.scratch.iterdir())
    with caplog.at_level(logging.ERROR):
        aside = places.aside
        for _ in range(3):
            aside.empty()
    assert caplog.text.count("can't be removed") == 2  # each once


def test_roots_of_killed_builds_are_put_away_and_nothing_else(shared, tmp_path):
    store = tmp_path / "nix/store"
    (store / "h-x.drv.chroot/root/nix").mkdir(parents=True)
    deep(store / "h-x.drv.chroot/root", LONG, 25)
    deep(store / "h-x.drv.chroot/root", "d", 1500)
    (store / "h-y.drv.chroot").symlink_to("/etc")
    for derivation in ("h-x.drv", "h-y.drv"):
        (store / derivation).touch()
    (store / "h-x").mkdir()
    (store / "h-z.drv.chroot").mkdir()  # an output: there is no derivation with its hash
    (store / "h-w.drv.chroot/root").mkdir(parents=True)  # its derivation has been collected
    (tmp_path / "nix/var/nix/db").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "nix/var/nix/db/db.sqlite")) as database, database:
        database.execute("create table ValidPaths (path text)")
        database.execute("insert into ValidPaths values ('/nix/store/h-z.drv.chroot')")
    assert put_roots_aside(shared, tmp_path / "nix", shared.aside)
    left = sorted(path.name for path in store.iterdir())
    assert left == ["h-x", "h-x.drv", "h-y.drv", "h-z.drv.chroot"]
    assert len(list(shared.aside.folder.iterdir())) == 3
    shared.aside.empty()
    assert not any(shared.aside.folder.iterdir())


async def test_roots_stay_while_a_builder_has_a_job(shared, tmp_path):
    (tmp_path / "nix/store/h-x.drv.chroot").mkdir()
    (tmp_path / "nix/store/h-x.drv").touch()
    async with shared.used():
        assert not put_roots_aside(shared, tmp_path / "nix", shared.aside)
    assert (tmp_path / "nix/store/h-x.drv.chroot").exists()


def test_what_can_not_be_moved_is_removed_where_it_is(tmp_path, caplog):
    (tmp_path / "tree").mkdir()
    deep(tmp_path / "tree", "d", 3)
    with caplog.at_level(logging.WARNING):
        Aside(tmp_path / "none").put(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert "can't be put aside" in caplog.text


async def test_what_was_put_aside_goes_by_itself(tmp_path):
    aside = Aside(tmp_path / "removing")
    serving = asyncio.create_task(aside.serve())  # whether the folder is there yet or not
    await asyncio.sleep(0.05)
    aside.folder.mkdir()
    (tmp_path / "tree").mkdir()
    aside.put(tmp_path / "tree")
    serving.cancel()
    serving = asyncio.create_task(aside.serve())
    async with asyncio.timeout(20):
        while any(aside.folder.iterdir()):
            await asyncio.sleep(0.01)
    serving.cancel()


def test_a_keeper_is_told_everything_on_its_command_line():
    daemon = Daemon(
        "j", "/run/j", "/scratch/j", "/nix", "/cgroup", Delegated(1, {"pids": "pids/jail"}),
        defaults(Stage.DEPENDENCIES),
    )  # fmt: skip
    argv = daemon.argv()
    assert argv[1:-1] == ["-P", "-s", "-S", "-m", "builder.daemon"]
    assert read(argv[-1]) == daemon
