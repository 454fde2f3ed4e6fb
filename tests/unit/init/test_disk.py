"""What a build can do not to be counted, and is counted all the same."""

# names as a program uses them, some no text and some too deep for a path
# ruff: noqa: PTH101, PTH102, PTH123

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from init import disk
from init.folders import UnreadableError
from tests.unit.init.trees import as_nobody, deep

MIB = 1024 * 1024
MANY = 1024 * MIB


def written(path, size):
    with open(path, "wb") as file:
        file.write(bytes(size))


def test_folder_that_can_not_be_read_is_measured(tmp_path):
    def do():
        os.mkdir("tree")
        written("tree/file", 6 * MIB)
        os.chmod("tree", 0o300)
        assert 6 * MIB < disk.size_of("tree", MANY) < 7 * MIB
        with pytest.raises(disk.TooMuchError):
            disk.size_of("tree", 5 * MIB)

    as_nobody(tmp_path, do)


def test_file_below_a_path_that_is_too_long_is_measured(tmp_path):
    deep(tmp_path, "x" * 200, 25)
    assert disk.size_of(str(tmp_path), MANY) >= 27 * disk.INODE_BYTES


def test_empty_folders_and_files_cost_an_inode_each(tmp_path):
    for one in range(1000):
        (tmp_path / f"folder{one}").mkdir()
        (tmp_path / f"file{one}").touch()
    assert disk.size_of(str(tmp_path), MANY) >= 2001 * disk.INODE_BYTES


def test_file_with_two_names_counts_once_and_a_sparse_one_as_a_copy_of_it(tmp_path):
    written(tmp_path / "one", MIB)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 * MIB)
    assert 11 * MIB < disk.size_of(str(tmp_path), MANY) < 11.1 * MIB


def test_names_alone_are_limited_too(tmp_path):
    (tmp_path / "0").touch()
    for one in range(1, 1000):
        (tmp_path / str(one)).hardlink_to(tmp_path / "0")
    assert disk.size_of(str(tmp_path), MIB) < MIB // 4
    with pytest.raises(disk.TooMuchError):
        disk.size_of(str(tmp_path), 1000 * disk.BYTES_PER_NAME)


def test_walk_is_over_when_the_limit_is_met_and_when_nobody_waits_for_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    status = (tmp_path / "file").stat()
    seen = []

    def endless(_):
        while True:
            seen.append(1)
            yield status

    monkeypatch.setattr(disk.folders, "walk", endless)
    with pytest.raises(disk.TooMuchError):
        disk.size_of("x", 100 * disk.INODE_BYTES)
    assert len(seen) == 101
    assert disk.size_of("x", MANY, lambda: len(seen) > 150) < MANY


def test_what_is_not_there_takes_nothing(tmp_path):
    assert disk.size_of(str(tmp_path / "none"), MANY) == 0


def test_folder_of_another_user_can_not_be_measured(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs a folder of another user's; CI runs as root")
    (tmp_path / "theirs").mkdir(mode=0o700)

    def do():
        with pytest.raises(UnreadableError):
            disk.size_of(".", MANY)

    as_nobody(tmp_path, do)


HOLDS = """
import os, sys, threading, ctypes
def hold(name, size):
    with open(name, "wb") as file:
        file.write(bytes(size))
    fd = os.open(name, os.O_RDWR)
    os.unlink(name)
    return fd
fds = [hold("one", 5 << 20)]
fds.append(os.dup(fds[0]))
fds.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
os.write(fds[-1], bytes(1 << 20))
with open("named", "wb") as file:
    file.write(bytes(1 << 20))
def alone():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # a table of descriptors of its own
    hold("two", 3 << 20)
    print("held", flush=True)
    threading.Event().wait()
threading.Thread(target=alone).start()
"""


def test_files_without_a_name_count_while_a_process_or_a_thread_holds_them(tmp_path):
    procs = tmp_path / "cgroup.procs"
    argv = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            procs.write_text(f"0\n{holder.pid}\n")
            size = disk.size_of_nameless(str(tmp_path), {tmp_path.stat().st_dev})
            assert 9 * MIB <= size < 10 * MIB
            assert disk.size_of_nameless(str(tmp_path), {0}) == 0
        finally:
            holder.kill()
    assert disk.size_of_nameless(str(tmp_path), {tmp_path.stat().st_dev}) == 0
    assert disk.pids_of(str(tmp_path / "none")) == []


def test_many_files_are_given_up_soon(tmp_path):
    for one in range(3000):
        (tmp_path / str(one)).touch()
    began = time.monotonic()
    with pytest.raises(disk.TooMuchError):
        disk.size_of(str(tmp_path), MIB)
    assert time.monotonic() - began < 5
