"""What a submission's container is, as the engine wants to be told. Pure.

Its other half, what init expects of it, is the contract in `init/box.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from init import seccomp
from worker.room import Room

LABEL_ROLE: Final = "sandstream.role"
LABEL_WORKER: Final = "sandstream.worker"
LABEL_INSTANCE: Final = "sandstream.instance"
ROLE: Final = "submission"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all containers of one worker's life have in common."""

    worker: str
    instance: str
    image: str
    state: Path
    scratch: Path
    cgroups: Path
    memory_bytes: int
    processes: int
    cpus: float
    ready_seconds: float
    cases_at_once: int = 1
    apparmor: str = ""

    @property
    def room(self) -> Room:
        return Room(self.memory_bytes, self.processes, self.cases_at_once)


@cache
def _seccomp() -> str:
    return json.dumps(seccomp.profile(), separators=(",", ":"))


def spec(plan: Plan, name: str, uid: int) -> dict[str, Any]:
    """The engine's description of one submission's container. Pure; a test compares the whole."""
    security = ["no-new-privileges:true", f"seccomp={_seccomp()}"]
    if plan.apparmor:
        # Docker's own AppArmor profile denies every mount, and nsjail's first act is one.
        security.append(f"apparmor={plan.apparmor}")
    return {
        "Image": plan.image,
        "User": f"{uid}:{uid}",
        "Labels": {LABEL_ROLE: ROLE, LABEL_WORKER: plan.worker, LABEL_INSTANCE: plan.instance},
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
            "SecurityOpt": security,
            "ReadonlyRootfs": True,
            "NetworkMode": "none",
            "IpcMode": "none",
            # A user namespace may mount a new /proc only where the old one is wholly visible.
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "Memory": plan.memory_bytes,
            "MemorySwap": plan.memory_bytes,  # memory and swap together: no swap
            "PidsLimit": plan.processes,
            "NanoCpus": round(plan.cpus * 1e9),
            "Ulimits": [
                {"Name": "core", "Soft": 1, "Hard": 1},
                {"Name": "nofile", "Soft": 4096, "Hard": 4096},
                {"Name": "stack", "Soft": 64 * 1024 * 1024, "Hard": 64 * 1024 * 1024},
            ],
            "Tmpfs": {"/box": f"rw,exec,nosuid,nodev,size=16m,mode=0700,uid={uid},gid={uid}"},
            "Binds": [
                f"{plan.state}/nix/store:/nix/store:ro",
                f"{plan.state}/channel:/channel:ro",
                f"{plan.scratch}/{name}:/scratch",
                # Writable, but only `jail` below this container's own groups is its uid's.
                f"{plan.cgroups}:/cgroup",
            ],
            "LogConfig": {"Type": "none"},
            "AutoRemove": False,
            "Init": False,
            "RestartPolicy": {"Name": "no"},
        },
    }
