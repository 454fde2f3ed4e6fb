"""A stage's process that enters its cgroup later than the stage is to end: in real cgroups."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from init import process, stoppable
from init.cgroups import StageCgroup
from init.frames import Delegated
from init.limits import Stage, defaults

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup needs root"),
]
ROOT = Path("/sys/fs/cgroup")
#: By then a machine as slow as any has forked; all stages here are to end at once.
LATE_SECONDS = 0.5
SLEEP = ["/bin/sleep", "30"]


class Late(StageCgroup):
    """The child of a busy machine: the kernel has let it wait at the door of its group."""

    def attach(self):
        time.sleep(LATE_SECONDS)
        super().attach()


@contextmanager
def delegated():
    """What a host gives a container."""
    name = f"sandstream-test-{uuid4().hex}"
    if (ROOT / "cgroup.controllers").exists():
        given = Delegated(2, dict.fromkeys(("memory", "pids", "cpuacct"), name))
    else:
        given = Delegated(1, {kind: f"{kind}/{name}" for kind in ("memory", "pids", "cpuacct")})
    folders = [ROOT / folder for folder in dict.fromkeys(given.folders.values())]
    for folder in folders:
        folder.mkdir()
        if given.version == 2:
            (folder / "cgroup.subtree_control").write_text("+memory +pids")
    try:
        yield given
    finally:
        for folder in folders:
            for group in (*folder.glob("*/"), folder):
                with suppress(FileNotFoundError):
                    group.rmdir()


@contextmanager
def late(given):
    usual = defaults(Stage.DEPENDENCIES)
    group = Late(given, "late", memory_bytes=usual.memory_bytes, processes=8, mount=str(ROOT))
    with group as entered:
        yield entered


def test_stopped_stage_ends_though_its_process_came_after_the_kill():
    read_end, write_end = os.pipe()
    os.close(write_end)  # to stop from the beginning
    try:
        with delegated() as given, late(given) as group:
            watched = stoppable._Group(given, cgroups=str(ROOT), made=[group])
            watch = stoppable._Watch(watched, read_end, lambda: False, None)
            ended = process.run(SLEEP, defaults(Stage.DEPENDENCIES), group, disk_is_full=watch)
    finally:
        os.close(read_end)
    assert watch.stopped
    assert ended.exit_code is None
    assert LATE_SECONDS <= ended.wall_seconds < 15


def test_clock_that_runs_out_before_the_process_is_in_its_group_ends_it():
    limits = replace(defaults(Stage.DEPENDENCIES), wall_seconds=0.001)
    began = time.monotonic()
    with delegated() as given, late(given) as group:
        ended = process.run(SLEEP, limits, group)
    assert time.monotonic() - began < 15
    assert ended.exit_code is None
