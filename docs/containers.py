"""A submission's container as the code describes it to the engine, for `flows.md`."""

from __future__ import annotations

import json
from pathlib import Path

from worker.settings import WorkerSettings
from worker.spec import Plan, spec


def submission() -> str:
    """What decides on its privileges and walls; the seccomp profile is a page of its own."""
    of = WorkerSettings.model_fields
    plan = Plan(
        worker="WORKER",
        instance="…",
        image="sandstream-runner:…",
        state=Path("STATE"),
        scratch=Path("STATE/worker/WORKER/scratch"),
        cgroups=Path("/sys/fs/cgroup"),
        memory_bytes=of["container_memory_bytes"].default,
        processes=of["container_processes"].default,
        cpus=2,
        ready_seconds=of["container_ready_seconds"].default,
        apparmor="sandstream",
    )
    made = spec(plan, "NAME", 1_000_017)
    host = made["HostConfig"]
    host["SecurityOpt"] = [
        "seccomp=…" if option.startswith("seccomp=") else option for option in host["SecurityOpt"]
    ]
    shown = {"User": made["User"], "Labels": made["Labels"], **host}
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in shown.items())
    return "```json\n{\n" + ",\n".join(lines).replace("\\u2026", "…") + "\n}\n```"
