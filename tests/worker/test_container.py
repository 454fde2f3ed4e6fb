"""What a running submission's container is, as Docker and the kernel tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.conftest import until
from worker.cgroups import of_container
from worker.room import memory_of

pytestmark = pytest.mark.integration


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in tree(int(child)))]


def inside(pid: int, path: str) -> str:
    return Path(f"/proc/{pid}/{path}").read_text()


async def test_container_of_a_running_submission_has_no_privilege(worker_at, client):
    async with worker_at() as worker:
        id_ = await client.submit(run="sleep 5", wall_seconds=20)
        history = await client.reached(id_, "started")
        container = worker.container(history[-1].container)
        host, pid = container["HostConfig"], container["State"]["Pid"]

        assert container["Config"]["Labels"]["sandstream.role"] == "submission"
        assert host["Privileged"] is False
        assert host["CapAdd"] is None
        assert host["CapDrop"] == ["ALL"]
        assert host["NetworkMode"] == "none"
        assert host["ReadonlyRootfs"] is True
        assert host["Devices"] in (None, [])
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert not any("docker.sock" in bind for bind in host["Binds"])

        await until(lambda: any("sleep" in inside(p, "comm") for p in tree(pid)))
        uid = int(container["Config"]["User"].split(":")[0])
        others = {c["Config"]["User"] for c in worker.containers()} - {container["Config"]["User"]}
        assert uid >= 1000
        assert len(others) == len(worker.containers()) - 1
        for process in tree(pid):
            said = status(process)
            assert set(said["Uid"].split()) == set(said["Gid"].split()) == {str(uid)}
            assert said["NoNewPrivs"] == "1"
            assert said["Seccomp"] == "2"
        assert [line.split()[0] for line in inside(pid, "net/dev").splitlines()[2:]] == ["lo:"]
        mounts = [line.split() for line in inside(pid, "mountinfo").splitlines()]
        (root,) = (mount for mount in mounts if mount[4] == "/")
        assert "ro" in root[5].split(",")
        await client.cancel(id_)
        await client.ended(id_)


async def test_no_process_of_a_container_has_a_capability_in_the_host(worker_at, client):
    """Init has some in a user namespace of its own; the program has none, not even there."""
    async with worker_at() as worker:
        id_ = await client.submit(run="sleep 5", wall_seconds=20)
        history = await client.reached(id_, "started")
        pid = worker.container(history[-1].container)["State"]["Pid"]
        await until(lambda: any("sleep" in inside(p, "comm") for p in tree(pid)))
        assert int(status(pid)["CapEff"], 16) == 0
        assert int(status(pid)["CapPrm"], 16) == 0
        for process in tree(pid):
            namespace = Path(f"/proc/{process}/ns/user").readlink()
            effective = int(status(process)["CapEff"], 16)
            assert effective == 0 or namespace != Path("/proc/self/ns/user").readlink()
            if "sleep" in inside(process, "comm"):
                assert [status(process)[name] for name in ("CapEff", "CapPrm", "CapInh")] == [
                    "0000000000000000"
                ] * 3
        idle = [c for c in worker.containers() if c["State"]["Pid"] != pid]
        assert idle
        await client.cancel(id_)
        await client.ended(id_)


async def test_wall_around_a_submission_is_what_was_reserved_for_it(worker_at, client):
    """And holds all that its stages may use: 200 MiB of files, their copy, and the run's own."""
    async with worker_at() as worker:
        id_ = await client.submit(
            compile_="head -c 200000000 /dev/zero >large",
            run="python3 -c 'x = bytearray(200 << 20)'; sleep 3",
            compile_limits={"file_size_bytes": 1 << 30},
            wall_seconds=60,
        )
        history = await client.reached(id_, "compiled")
        (started,) = (event for event in history if event.event == "started")
        container = worker.container(started.container)
        wall = memory_of(history[0].request, 1, builds=False)
        groups = of_container(Path("/sys/fs/cgroup"), container["Id"])
        found = {
            int((group / name).read_text())
            for group in groups
            for name in ("memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            if (group / name).exists()
        }
        assert found
        assert all(wall - (1 << 20) < one <= wall for one in found), (wall, found)
        assert wall < container["HostConfig"]["Memory"] / 8
        state, _ = await client.ended(id_)
    assert state.attempts == 1
    assert state.runs[0].outcome == "ok", state.runs[0]
