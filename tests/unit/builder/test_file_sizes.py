"""A builder's limit of a file's size: given to builds as they come, and looked for afterwards."""

from __future__ import annotations

import resource
import subprocess
import sys

from builder import daemon, nixstore
from tests.unit.init.trees import deep


def test_largest_file_is_found_below_a_folder_and_links_are_not_followed(tmp_path):
    out = tmp_path / "out"
    (out / "lib").mkdir(parents=True)
    (out / "small").write_bytes(bytes(10))
    (out / "lib/large").write_bytes(bytes(5000))
    (tmp_path / "elsewhere").write_bytes(bytes(9000))
    (out / "link").symlink_to(tmp_path / "elsewhere")
    assert nixstore.largest_file(out) == 5000
    assert nixstore.largest_file(out / "small") == 10
    assert nixstore.largest_file(out / "link") < 1000
    deep(out, "d", 1500)
    assert nixstore.largest_file(out) == 5000
    (tmp_path / "empty").mkdir()
    assert nixstore.largest_file(tmp_path / "empty") == 0


def test_a_build_is_limited_once_and_the_daemon_is_not(tmp_path, monkeypatch):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as build, subprocess.Popen(sleep) as other:
        try:
            procs = tmp_path / "cgroup.procs"
            procs.write_text(f"{build.pid}\n{other.pid}\n")
            monkeypatch.setattr(daemon, "builds", lambda _: {build.pid: "x.drv.chroot"})
            limited = {4_000_000}  # one that has ended
            before = resource.prlimit(other.pid, resource.RLIMIT_FSIZE)
            daemon.limit_files(tmp_path, 1234, limited)
            assert resource.prlimit(build.pid, resource.RLIMIT_FSIZE) == (1234, 1234)
            assert resource.prlimit(other.pid, resource.RLIMIT_FSIZE) == before
            assert limited == {build.pid}
        finally:
            build.kill()
            other.kill()


def test_build_that_has_just_ended_is_no_fault(tmp_path, monkeypatch):
    procs = tmp_path / "cgroup.procs"
    gone = 2**22 - 1
    procs.write_text(f"{gone}\n")
    monkeypatch.setattr(daemon, "builds", lambda _: {gone: "x"})
    limited: set[int] = set()
    daemon.limit_files(tmp_path, 1, limited)
    assert limited == set()


def test_what_a_build_has_lowered_itself_is_not_raised(tmp_path, monkeypatch):
    """Without privilege that is refused, and the refusal was taken for a fault of ours."""
    own = "import resource, time; resource.setrlimit(resource.RLIMIT_FSIZE, (5, 9)); "
    sleep = [sys.executable, "-c", f"{own} print(flush=True); time.sleep(60)"]
    with subprocess.Popen(sleep, stdout=subprocess.PIPE) as build:
        try:
            build.stdout.readline()
            procs = tmp_path / "cgroup.procs"
            procs.write_text(f"{build.pid}\n")
            monkeypatch.setattr(daemon, "builds", lambda _: {build.pid: "x.drv.chroot"})
            limited: set[int] = set()
            daemon.limit_files(tmp_path, 7, limited)
            assert resource.prlimit(build.pid, resource.RLIMIT_FSIZE) == (5, 7)
            assert limited == {build.pid}
        finally:
            build.kill()


def test_build_that_lowers_its_own_just_now_is_looked_at_again(tmp_path, monkeypatch):
    procs = tmp_path / "cgroup.procs"
    procs.write_text("7\n")
    monkeypatch.setattr(daemon, "builds", lambda _: {7: "x.drv.chroot"})

    def prlimit(_pid, _kind, limits=None):
        if limits is not None:
            raise PermissionError
        return (-1, -1)

    monkeypatch.setattr(daemon.resource, "prlimit", prlimit)
    limited: set[int] = set()
    daemon.limit_files(tmp_path, 7, limited)
    assert limited == set()
