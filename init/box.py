"""The container that init lives in: what its maker has to give, and where things are in it.

The contract, with whoever creates the container (`worker/engine.py`):

- `User` is a uid and gid of its own, used by no other live container, without a passwd entry;
  `CapDrop: [ALL]`, `SecurityOpt: [no-new-privileges, seccomp=<init.seccomp.profile()>]`,
  `ReadonlyRootfs`, `NetworkMode: none`, `MaskedPaths: []` and `ReadonlyPaths: []` (a nested
  namespace gets a /proc of its own only where the outer one is fully visible); with AppArmor a
  profile that allows mounts in user namespaces;
- the ulimits `core=1` (the one value with which a crash starts no program of the host's, where
  core_pattern is a pipe; less is obeyed too), `nofile=4096` and `stack=67108864`;
- a tmpfs at `/box` of that uid (`uid=,gid=,mode=0700,exec,size=16m`): mount points, and a copy of
  what every jail sees of ours, the shell's variables among them;
- `/nix/store`: the host's store, and `/channel`: the pinned channel, both read-only; `/cgroup`: the
  host's /sys/fs/cgroup, writable as far as file permissions allow; `/scratch`: a disk-backed folder
  of that uid (dependencies only);
- after the start, the host calls `init.delegation.delegate(pid, uid)` and sends the result as
  the first frame; `Ready` answers it. Docker's own memory limit must hold the largest stage,
  and twice compile's `disk_bytes` (its result and the copy that a run gets), and 128 MiB. A job
  whose cases may run at the same time needs one run and one copy more for each of them.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH102, PTH123

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from init.cgroups import StageCgroup
from init.jail import REAPER, proc_config

if TYPE_CHECKING:
    from init.frames import Delegated
    from init.limits import StageLimits

_ETC: Final = {
    "passwd": "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
    "nobody:x:65534:65534::/:/bin/sh\n",
    "group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 sandstream\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def _opens(path: str) -> bool:
    """Whether an open succeeds: of some files in /proc the mode does not tell."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Box:
    """Paths of the container, and the cgroups that it was given."""

    delegated: Delegated
    root: str = "/box"
    cgroups: str = "/cgroup"
    scratch: str = "/scratch"

    @property
    def etc(self) -> str:
        """Seen by every jail as /etc."""
        return f"{self.root}/etc"

    @property
    def ours(self) -> str:
        """Holds what every jail sees in /run/sandstream: the reaper, and the shell's script."""
        return f"{self.root}/ours"

    @property
    def proc(self) -> str:
        """What nsjail reads of a stage's /proc."""
        return f"{self.root}/proc.cfg"

    def prepare(self) -> None:
        """Do all that no job is needed for; raises when the container is not as agreed."""
        for folder in (self.etc, self.ours):
            os.mkdir(folder, 0o755)
        for name, text in _ETC.items():
            with open(f"{self.etc}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        # copied, so that a jail's mount table does not show where the image lies on the host
        with open(REAPER, "rb") as source, open(f"{self.ours}/reaper", "wb") as target:
            target.write(source.read())
            os.fchmod(target.fileno(), 0o755)
        nothing = f"{self.root}/hidden"
        os.mkdir(nothing, 0o555)
        with open(self.proc, "w", encoding="ascii") as file:
            file.write(proc_config(nothing, _opens))
        for folder in set(self.delegated.folders.values()):
            if not os.access(f"{self.cgroups}/{folder}", os.W_OK):
                raise PermissionError(f"the cgroup {folder} is not ours")

    def cgroup(self, name: str, limits: StageLimits) -> StageCgroup:
        return StageCgroup(
            self.delegated,
            name,
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            mount=self.cgroups,
        )
