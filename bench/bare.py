"""Runs inside the runner's container, given on its command line: nsjail alone, timed.

The same closure, program, namespaces and seccomp policy as a run of ours has; no queue, no events,
no cgroups, no shellHook. Reads the jail from stdin as JSON, writes one line of milliseconds.
"""

import json
import os
import subprocess
import sys
import time

from init.jail import DEVICES, Bind, Jail, Mount, argv

asked = json.load(sys.stdin)
closure = asked["closure"]
bash = next(path for path in closure if "-bash-" in path)
jail = Jail(
    command=(f"{bash}/bin/bash", "run.sh"),
    mounts=(
        Mount("tmpfs", "/tmp"),  # noqa: S108 - the jail's
        Mount("proc", "/proc"),
        *DEVICES,
        *(Bind(path, path) for path in closure),
        Bind("/work", "/work"),
    ),
    cwd="/work",
    outer_uid=os.getuid(),
    environment=(("PATH", ":".join(f"{path}/bin" for path in closure)),),
)
times = []
for _ in range(asked["rounds"]):
    began = time.perf_counter()
    done = subprocess.run(
        argv(jail), input=asked["stdin"].encode(), capture_output=True, check=False
    )
    times.append((time.perf_counter() - began) * 1000)
    if done.returncode != 0:
        sys.exit(f"nsjail ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
json.dump(times, sys.stdout)
