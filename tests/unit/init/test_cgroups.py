"""What the kernel's files say, in both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from init.cgroups import StageCgroup, cpu_seconds, field, split
from init.delegation import parse_membership, plan
from init.frames import Delegated
from init.limits import MIB

V1 = """\
9:name=systemd:/docker/abc
8:pids:/docker/abc
4:memory:/system/docker/abc
2:cpu,cpuacct:/docker/abc
0::/docker/abc
"""


def test_version_1_and_hybrid_are_planned_by_controller():
    assert plan(parse_membership(V1)) == Delegated(
        1,
        {
            "memory": "memory/system/docker/abc/jail",
            "pids": "pids/docker/abc/jail",
            "cpuacct": "cpuacct/docker/abc/jail",
        },
    )


def test_version_2_is_planned_as_one_folder():
    folder = "system.slice/docker-abc.scope/jail"
    assert plan(parse_membership("0::/system.slice/docker-abc.scope\n")) == Delegated(
        2, {"memory": folder, "pids": folder, "cpuacct": folder}
    )


def test_path_with_a_colon_is_kept_whole():
    assert parse_membership("4:memory:/a:b/c\n") == {"memory": "/a:b/c"}


def test_field_of_a_keyed_file():
    text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    assert field(text, "oom_kill") == 3
    assert field("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n", "oom_kill") == 1
    assert field("max 5\n", "max") == 5
    assert field("", "max") == 0


def test_cpu_seconds_of_both_versions():
    assert cpu_seconds(1, "1500000000\n") == 1.5
    assert cpu_seconds(2, "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n") == 1.5


#: What the inner group has of the files that are written; on version 2 the last one alone.
INNER = ("memory.kmem.tcp.limit_in_bytes", "tasks", "cgroup.procs")


@pytest.fixture
def stage_files(monkeypatch):
    """mkdir of a cgroup brings its files; rmdir takes them."""
    content = {}
    real_mkdir, real_rmdir = os.mkdir, os.rmdir

    def mkdir(path, *args):
        real_mkdir(path, *args)
        # the outer group has no controllers to give
        inner = Path(path).name == "inner"
        there = dict.fromkeys(INNER, "") if inner else content
        for name, text in there.items():
            Path(path, name).write_text(text)

    def rmdir(path):
        for file in Path(path).iterdir():
            file.unlink()
        real_rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)
    return content


def test_version_2_group_is_limited_read_and_removed(tmp_path, stage_files):
    stage_files |= {
        "memory.peak": "9096\n", "memory.events": "oom 1\noom_kill 2\n", "cgroup.procs": "",
        "memory.stat": "anon 7\nfile 6000\nshmem 1000\n", "pids.events": "max 4\n",
        "memory.max": "", "memory.swap.max": "", "memory.oom.group": "", "pids.max": "",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    }  # fmt: skip
    (tmp_path / "c/jail").mkdir(parents=True)
    delegated = Delegated(2, dict.fromkeys(("memory", "pids", "cpuacct"), "c/jail"))
    group = StageCgroup(delegated, "run-0", memory_bytes=1 << 21, processes=5, mount=str(tmp_path))
    with group:
        folder = tmp_path / "c/jail/run-0"
        written = {name: (folder / name).read_text() for name in
                   ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")}  # fmt: skip
        assert written == {
            "memory.max": "2097152", "memory.swap.max": "0",
            "memory.oom.group": "1", "pids.max": "7",
        }  # fmt: skip
        group.attach()
        # the group with the limits has no process, and that with the processes no limit
        assert (folder / "cgroup.procs").read_text() == ""
        assert (folder / "inner/cgroup.procs").read_text() == "0"
        (folder / "inner/cgroup.procs").write_text("")
        figures = group.figures()
    assert (figures.cpu_seconds, figures.memory_peak_bytes) == (2.5, 4096)
    assert (figures.cpu_user_seconds, figures.cpu_system_seconds) == (2.0, 0.5)
    assert (figures.oom_kills, figures.oom_at_limit, figures.refused_forks) == (2, True, 4)
    assert not folder.exists()


def test_version_1_sums_what_it_counts_in_the_group_of_the_process(tmp_path, stage_files):
    stage_files |= {
        "memory.max_usage_in_bytes": "9096\n", "memory.oom_control": "oom_kill 0\n",
        "memory.stat": "cache 1\nshmem 1\ntotal_cache 6000\ntotal_shmem 1000\n",
        "pids.events": "max 0\n", "cpuacct.usage": "1\n", "cgroup.procs": "",
        "memory.limit_in_bytes": "", "memory.memsw.limit_in_bytes": "", "pids.max": "",
        "memory.kmem.tcp.limit_in_bytes": "",
        "memory.kmem.usage_in_bytes": "1000\n",
    }  # fmt: skip
    folders = {name: f"{name}/jail" for name in ("memory", "pids", "cpuacct")}
    for folder in folders.values():
        (tmp_path / folder).mkdir(parents=True)
    delegated = Delegated(1, folders)
    group = StageCgroup(delegated, "run-0", memory_bytes=1000, processes=5, mount=str(tmp_path))
    with group:
        (tmp_path / "memory/jail/run-0/inner/memory.oom_control").write_text("oom_kill 1\n")
        (tmp_path / "pids/jail/run-0/inner/pids.events").write_text("max 2\n")
        below = tmp_path / "pids/jail/run-0/inner/of-a-build"
        below.mkdir()
        (below / "pids.events").write_text("max 3\n")
        figures = group.figures()
        assert group.oom_kills() == 1
        limits = [
            (tmp_path / f"memory/jail/run-0/{name}memory.kmem.tcp.limit_in_bytes").read_text()
            for name in ("", "inner/")
        ]
    assert (figures.oom_kills, figures.refused_forks) == (1, 5)
    # a quarter of the memory, and without one of its own a group is not counted at all
    assert limits == [str((MIB + 1000) // 4)] * 2
    # without what the kernel took for the inner group
    assert figures.memory_peak_bytes == 3096
    assert not below.exists()


def test_samples_of_the_tick_only_divide_the_exact_sum():
    assert split(1.0, 3, 1) == (0.75, 0.25)
    assert split(0.002, 0, 0) == (0.002, 0.0)
