"""The container's description, compared whole: a privilege that creeps in is a failing test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from init.seccomp import profile
from worker.spec import Plan, spec

PLAN = Plan(
    worker="w",
    instance="i",
    image="runner:1",
    state=Path("/state"),
    scratch=Path("/state/worker/w/scratch"),
    cgroups=Path("/sys/fs/cgroup"),
    memory_bytes=1024,
    processes=12,
    cpus=1.5,
    ready_seconds=1,
)
SECCOMP = f"seccomp={json.dumps(profile(), separators=(',', ':'))}"


def test_the_whole_description():
    assert spec(PLAN, "n", 5000) == {
        "Image": "runner:1",
        "User": "5000:5000",
        "Labels": {
            "sandstream.role": "submission",
            "sandstream.worker": "w",
            "sandstream.instance": "i",
        },
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "NetworkDisabled": True,
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true", SECCOMP],
            "ReadonlyRootfs": True,
            "NetworkMode": "none",
            "IpcMode": "none",
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "Memory": 1024,
            "MemorySwap": 1024,
            "PidsLimit": 12,
            "NanoCpus": 1_500_000_000,
            "Ulimits": [
                {"Name": "core", "Soft": 1, "Hard": 1},
                {"Name": "nofile", "Soft": 4096, "Hard": 4096},
                {"Name": "stack", "Soft": 67108864, "Hard": 67108864},
            ],
            "Tmpfs": {"/box": "rw,exec,nosuid,nodev,size=16m,mode=0700,uid=5000,gid=5000"},
            "Binds": [
                "/state/nix/store:/nix/store:ro",
                "/state/channel:/channel:ro",
                "/state/worker/w/scratch/n:/scratch",
                "/sys/fs/cgroup:/cgroup",
            ],
            "LogConfig": {"Type": "none"},
            "AutoRemove": False,
            "Init": False,
            "RestartPolicy": {"Name": "no"},
        },
    }


def test_apparmor_is_mentioned_only_where_the_host_has_it():
    with_it = spec(replace(PLAN, apparmor="sandstream"), "n", 5000)["HostConfig"]["SecurityOpt"]
    assert with_it == ["no-new-privileges:true", SECCOMP, "apparmor=sandstream"]
