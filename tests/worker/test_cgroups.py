"""What an engine forgets: a container that it says is gone, and that still runs."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from worker import cgroups

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup needs root"),
]
ROOT = Path("/sys/fs/cgroup")


@contextmanager
def forgotten(id_: str):
    """A process in the delegated part of a container's cgroup, and beside it another container."""
    hierarchy = ROOT if (ROOT / "cgroup.controllers").exists() else ROOT / "pids"
    folder = hierarchy / "docker" / id_ / "jail" / "run-0"
    folder.mkdir(parents=True)
    process = subprocess.Popen(["sleep", "60"])
    try:
        (folder / "cgroup.procs").write_text(str(process.pid))
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_runs_in_a_container_that_is_said_to_be_gone_is_killed_and_its_groups_removed():
    id_, other = uuid4().hex, uuid4().hex
    with forgotten(id_) as process, forgotten(other) as another:
        assert cgroups.end(ROOT, id_) == [process.pid]
        assert process.wait(10) == -9
        assert cgroups.end(ROOT, id_) == []
        assert cgroups.remove(ROOT, id_) == []
        assert another.poll() is None
    assert cgroups.remove(ROOT, other) == []


def test_a_container_without_a_trace_is_nothing_to_do():
    assert cgroups.end(ROOT, uuid4().hex) == []


def test_who_lives_in_another_pid_namespace_is_seen_and_not_signalled(tmp_path, monkeypatch):
    """It reads as 0, and a signal to that would go to our own process group."""
    folder = tmp_path / "docker" / "c1"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("0\n77\n")
    signalled = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    assert cgroups.end(tmp_path, "c1") == [0, 77]
    assert signalled == [77]
