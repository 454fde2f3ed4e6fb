"""Giving a running container a part of the cgroup tree: the host's side, done as root.

Called by the worker, and by whoever starts the builder, once the container runs. What is given
is a folder `jail` below the container's own cgroup: below it the container's uid may make groups
and limit them, and Docker's limits around the container still hold over all of it. Docker
removes it with the container.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from init.frames import Delegated

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
#: What a stage needs. Version 2 has no controller for figures of CPU time: every group has them.
_V1: Final = ("memory", "pids", "cpuacct")
_V2: Final = "+memory +pids"


def parse_membership(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup as controller -> path; version 2's one line has the empty name."""
    membership = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            membership[controller] = path
    return membership


def plan(membership: dict[str, str]) -> Delegated:
    """Where the `jail` folders go, below the cgroup root. Hybrid systems count as version 1."""
    if all(controller in membership for controller in _V1):
        folders = {name: f"{name}{membership[name].rstrip('/')}/jail" for name in _V1}
        return Delegated(1, folders)
    folder = f"{membership['']}/jail".lstrip("/")
    return Delegated(2, dict.fromkeys(_V1, folder))


def delegate(pid: int, uid: int, root: Path = CGROUP_ROOT) -> Delegated:
    """Make the `jail` folders of the container whose PID 1 is `pid`, and give them to `uid`."""
    membership = parse_membership(Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii"))
    delegated = plan(membership)
    if delegated.version == 1:
        for folder in delegated.folders.values():
            # the folder only: its own limit files stay root's
            path = root / folder
            path.mkdir()
            os.chown(path, uid, uid)
    else:
        _delegate_v2(root / delegated.folders["memory"], uid)
    return delegated


def _delegate_v2(jail: Path, uid: int) -> None:
    """Version 2 lets no group have both processes and controlled children: PID 1 moves aside."""
    container = jail.parent
    aside = container / "init"
    aside.mkdir()
    # again until none is left: one of them may have ended, or begun another, meanwhile
    while pids := (container / "cgroup.procs").read_text(encoding="ascii").split():
        for pid in pids:
            with suppress(ProcessLookupError):
                (aside / "cgroup.procs").write_text(pid, encoding="ascii")
    (container / "cgroup.subtree_control").write_text(_V2, encoding="ascii")
    jail.mkdir()
    (jail / "cgroup.subtree_control").write_text(_V2, encoding="ascii")
    # whoever moves a process must be able to write to the common ancestor of both groups
    for path in (jail, jail / "cgroup.procs", container / "cgroup.procs"):
        os.chown(path, uid, uid)
