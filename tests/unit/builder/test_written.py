"""What counts as a build's, from what its processes say of themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder import written
from builder.written import DATABASE_BYTES, Written, builds, chroots_of, stored
from init.disk import INODE_BYTES, TooMuchError
from tests.unit.init.trees import deep

MIB = 1024 * 1024
LINE = b"42 1 254:0 %s %s rw - ext4 /dev/vda rw\n"


def line(root, at=b"/"):
    return LINE % (root, at)


@pytest.mark.parametrize(
    ("mountinfo", "found"),
    [
        (line(b"/state/nix/store/h-x.drv.chroot/root"), {"h-x.drv.chroot"}),
        (line(b"/nix/store/h-x.drv.chroot"), {"h-x.drv.chroot"}),
        (line(b"/") + line(b"/nix/store/h-p", b"/nix/store/h-p"), set()),
        # it has made another folder its root, or something that is not on the disk at all
        (line(b"/nix/store/h-x.drv.chroot/root/below/it"), {"h-x.drv.chroot"}),
        (line(b"/") + line(b"/nix/store/h-x.drv.chroot/root/a", b"/a"), {"h-x.drv.chroot"}),
        (line(b"/nix/store/h-x.drv.chroot/root/store/h-y.drv.chroot"), {"h-x.drv.chroot"}),
        # names that are no text, and a root that is nowhere near a store
        (line(b"/nix/store/h-x.drv.chroot/root") + line(b"/", b"/\xff"), {"h-x.drv.chroot"}),
        (line(b"/elsewhere/x.drv.chroot"), set()),
        (b"", set()),
        (b"cut off in the mid", set()),
    ],
)
def test_the_roots_that_a_process_sees(mountinfo, found):
    assert chroots_of(mountinfo) == found


def test_a_process_that_is_gone_or_none_of_a_build_is_left_out():
    assert builds([os.getpid(), 2**22 - 1]) == {}


def test_bytes_that_were_truncated_away_again_are_not_stored():
    text = "rchar: 1\nwchar: 999\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n"
    assert stored(text) == 4096
    assert stored("") == 0


@pytest.fixture
def job(tmp_path):
    for name in ("scratch", "nix", "nix/store", "group"):
        (tmp_path / name).mkdir()
    (tmp_path / "group/cgroup.procs").write_text("")

    def used(limit=100 * MIB):
        folders = (str(tmp_path / "scratch"), str(tmp_path / "nix"))
        return Written(*folders, str(tmp_path / "group"), limit)

    return used


def never():
    return False


def test_what_a_daemon_writes_for_the_database_counts_for_nobody(job, monkeypatch):
    used = job()
    idle = used(never)
    monkeypatch.setattr(written.disk, "pids_of", lambda _group: [1, 2])
    monkeypatch.setattr(written, "builds", lambda _pids: {})
    for each, more in ((DATABASE_BYTES // 2, 0), (DATABASE_BYTES, DATABASE_BYTES)):
        monkeypatch.setattr(written, "_stored_by", lambda _pid, each=each: each)
        assert used(never) == idle + more


def test_what_a_build_has_left_counts_after_its_end(job, tmp_path, monkeypatch):
    root = tmp_path / "nix/store/h-x.drv.chroot"
    (root / "root").mkdir(parents=True)
    (root / "root/file").write_bytes(bytes(MIB))
    (tmp_path / "nix/store/h-x.drv").touch()
    used = job()
    seen = {1: {"h-x.drv.chroot", *(f"{n}.drv.chroot" for n in range(1000))}}  # its own mounts too
    monkeypatch.setattr(written, "builds", lambda _pids: seen)
    assert MIB < used(never) < 2 * MIB
    assert set(used._built) == {"h-x.drv.chroot"}
    (root / "root/file").rename(tmp_path / "nix/store/h-x")
    seen.clear()
    assert MIB < used(never) < 2 * MIB
    deep(tmp_path / "scratch", "x" * 200, 25)
    assert used(never) > MIB + 25 * INODE_BYTES
    (tmp_path / "scratch/more").write_bytes(bytes(MIB))
    with pytest.raises(TooMuchError):
        job(MIB)(never)


WRITES = """
import os, sys
with open("copied", "wb") as file:
    file.write(bytes(3 << 20))
    os.fsync(file)
print("written", flush=True)
sys.stdin.read()
"""


def test_what_the_daemon_itself_stores_counts(job, tmp_path, monkeypatch):
    """As what an evaluation copies into the store does."""
    if not Path("/proc/self/io").exists():
        pytest.skip("this kernel does not count bytes; CI's does")
    argv = [sys.executable, "-c", WRITES]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    monkeypatch.setattr(written, "DATABASE_BYTES", 0)
    used = job()
    with subprocess.Popen(argv, cwd=tmp_path / "nix", **pipes) as daemon:
        assert daemon.stdout.readline() == b"written\n"
        (tmp_path / "group/cgroup.procs").write_text(f"{daemon.pid}\n")
        assert 3 * MIB <= used(never) < 4 * MIB
        daemon.stdin.close()
    assert 3 * MIB <= used(never) < 4 * MIB
