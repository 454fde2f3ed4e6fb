"""What the guest is, so that a pass of the suite says what it claims; and what AppArmor does.

Not named `test_*`: these hold in the guest alone, which names this file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from init import delegation
from init.frames import Case, Environment, Job, JobFile
from init.limits import Stage, defaults
from init.outcome import Outcome
from tests.sandbox import harness
from tests.sandbox.conftest import sandbox  # noqa: F401 - the suite's own fixture

DOCKERS_OWN = "docker-default"


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.1)


def a_job(box: harness.Sandbox, script: str) -> Job:
    limits = {stage: defaults(stage) for stage in Stage}
    files = (JobFile("run.sh", script.encode()),)
    return Job("test", 1, files, (Case(),), limits, Environment(box.closure, box.profile))


def docker_info() -> dict:
    argv = ["docker", "info", "--format", "{{json .}}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)


class Confined(harness.Sandbox):
    """The same container under another AppArmor profile."""

    apparmor = "unconfined"

    def create_argv(self, uid: int) -> list[str]:
        usual = super().create_argv(uid)
        return [f"apparmor={self.apparmor}" if w.startswith("apparmor=") else w for w in usual]


@pytest.fixture
def confined(sandbox):  # noqa: F811
    def make(profile: str) -> Confined:
        fields = {f.name: getattr(sandbox, f.name) for f in dataclasses.fields(sandbox)}
        box = Confined(**fields)
        box.apparmor = profile
        return box

    return make


def test_engine_uses_systemd_and_cgroup_2():
    info = docker_info()
    assert (info["CgroupDriver"], info["CgroupVersion"]) == ("systemd", "2")


def test_engine_has_apparmor():
    assert any("name=apparmor" in option for option in docker_info()["SecurityOptions"])


def test_no_controller_of_version_1_is_mounted():
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert {mount[2] for mount in mounts if "cgroup" in mount[2]} == {"cgroup2"}


@pytest.mark.parametrize("profile", ["sandstream", "unconfined"])
def test_program_runs_and_is_confined_by_the_profile(confined, profile):
    box = confined(profile)
    with box.container() as (_, pid):
        label = Path(f"/proc/{pid}/attr/current").read_text().strip()
    assert label == {"sandstream": "sandstream (enforce)"}.get(profile, profile)
    run = box.run("cat /proc/self/attr/current", Case()).run
    assert (run.outcome, run.stdout.decode().strip()) == (Outcome.OK, label), run


def test_dockers_own_profile_lets_no_jail_be_made(confined):
    """Why there is a profile of ours; when this fails, there need be none."""
    with pytest.raises(AssertionError, match="mount"):
        confined(DOCKERS_OWN).run("echo hi")


def folders_of(delegated) -> list[Path]:
    return [Path("/sys/fs/cgroup", folder).parent for folder in delegated.folders.values()]


def test_container_has_a_scope_of_systemd_and_init_a_group_beside_the_jail(sandbox):  # noqa: F811
    with sandbox.container() as (process, pid):
        (scope,) = set(folders_of(process.delegated))
        assert scope.parent == Path("/sys/fs/cgroup/system.slice")
        assert scope.name.startswith("docker-")
        assert (scope / "cgroup.procs").read_text() == ""
        assert str(pid) in (scope / "init/cgroup.procs").read_text().split()
        assert (scope / "cgroup.subtree_control").read_text().split() == ["memory", "pids"]


def test_container_that_dies_within_a_stage_leaves_no_cgroup(sandbox):  # noqa: F811
    with sandbox.container() as (process, pid):
        scope = folders_of(process.delegated)[0]
        harness.send(process, harness.encode(process.delegated))
        harness.send(process, harness.encode(a_job(sandbox, "sleep 300")))
        until(lambda: any(path.is_dir() for path in (scope / "jail").iterdir()))
        os.kill(pid, signal.SIGKILL)
    until(lambda: not scope.exists())


def test_limits_outlive_a_reload_of_systemd(sandbox):  # noqa: F811
    with sandbox.container() as (process, _):
        jail = Path("/sys/fs/cgroup", process.delegated.folders["memory"])
        scope = jail.parent
        before = {path: path.read_text() for path in (scope / "memory.max", scope / "pids.max")}
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        assert {path: path.read_text() for path in before} == before
        assert (jail / "cgroup.subtree_control").read_text().split() == ["memory", "pids"]
        assert jail.stat().st_uid != 0


def test_kernel_denied_nothing_under_our_profile(sandbox):  # noqa: F811
    """Denials go to the kernel's log: a jail that works must not be working around one."""
    assert sandbox.run("echo hi", compile_script="echo made >file").run.outcome == Outcome.OK
    kernel = ["journalctl", "--dmesg", "--no-pager", "--output", "cat"]
    log = subprocess.run(kernel, check=True, capture_output=True, text=True).stdout
    assert [x for x in log.splitlines() if 'apparmor="DENIED"' in x and '"sandstream"' in x] == []


def test_process_that_forks_while_it_is_delegated_is_moved_all_the_same():
    """Version 2 gives controllers to no group that still has a process, and init forks at once."""
    group = Path("/sys/fs/cgroup/forks")
    group.mkdir()
    forks = "echo $$ >/sys/fs/cgroup/forks/cgroup.procs; while :; do /bin/true; done"
    with subprocess.Popen(["sh", "-c", forks]) as process:
        try:
            until((group / "cgroup.procs").read_text)
            delegation._delegate_v2(group / "jail", 12345)
            assert (group / "cgroup.procs").read_text() == ""
            assert (group / "jail").stat().st_uid == 12345
        finally:
            process.kill()
            process.wait()
            until(lambda: not (group / "init/cgroup.procs").read_text())
            for folder in (group / "jail", group / "init", group):
                folder.rmdir()


def test_fork_bomb_that_waits_for_its_children_meets_the_process_limit(sandbox):  # noqa: F811
    run = sandbox.run("bomb() { bomb | bomb; }; bomb; exit 1", processes=30, wall_seconds=30).run
    assert run.outcome in {Outcome.PROCESS_LIMIT, Outcome.WALL_TIME_LIMIT}, run
    assert sandbox.run("echo alive").run.stdout == b"alive\n"


def test_figures_are_read_from_version_2(sandbox):  # noqa: F811
    run = sandbox.run("python3 -c 'x = bytearray(50 << 20); sum(range(1000000))'").run
    assert run.outcome == Outcome.OK
    assert 50 << 20 < run.memory_peak_bytes < 90 << 20
    assert run.cpu_seconds > 0.02
