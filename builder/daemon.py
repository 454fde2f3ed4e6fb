"""One job's nix-daemon, or its fetch, and the keeper: `python3 -P -s -S -m builder.daemon JSON`.

The keeper runs the daemon in a jail, in the job's cgroup, under the job's limits: all builds are
the daemon's children, so they hold for every build. It ends everything when its stdin ends, so
a builder that dies leaves no build behind, and prints how it ended as one frame. Standard
library only, as `init/`: it starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from builder.written import Written, builds
from init import cgroups, disk, nix, stoppable
from init.frames import Delegated, DependenciesDone
from init.jail import Jail
from init.limits import GIB, StageLimits
from init.wire import encode


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a keeper is told. `folder` takes the socket, `scratch` what builds write.

    `beside` is the cgroup (cpuacct, below `cgroups`) of the job's evaluation: both halves share
    one limit of CPU time. `proxy` is the socket that fixed-output derivations may
    use. With a `derivation` the keeper fetches what a cache has of its inputs, as Nix's `config`
    says, and there is no daemon.
    """

    name: str
    folder: str
    scratch: str
    store: str
    cgroups: str
    delegated: Delegated
    limits: StageLimits
    network: bool = False
    proxy: str = ""
    beside: str = ""
    derivation: str = ""
    config: str = ""
    file_size_bytes: int = GIB

    def argv(self) -> list[str]:
        return [sys.executable, "-P", "-s", "-S", "-m", "builder.daemon", json.dumps(asdict(self))]


def told(text: str) -> Daemon:
    data = json.loads(text)
    return Daemon(
        **data
        | {
            "delegated": Delegated(**data["delegated"]),
            "limits": StageLimits(**data["limits"]),
        }
    )


def jail_of(daemon: Daemon) -> Jail:
    if daemon.derivation:
        return nix.fetch_jail(
            uid=os.getuid(),
            store=daemon.store,
            derivation=daemon.derivation,
            config=daemon.config,
        )
    return nix.daemon_jail(
        uid=os.getuid(),
        store=daemon.store,
        folder=daemon.folder,
        scratch=daemon.scratch,
        network=daemon.network,
        proxy=daemon.proxy,
    )


def cpu_beside(daemon: Daemon) -> float:
    """Seconds of CPU time that the job's evaluation has used; none where there is none now."""
    name = "cpuacct.usage" if daemon.delegated.version == 1 else "cpu.stat"
    try:
        text = Path(daemon.cgroups, daemon.beside, name).read_text()
    except OSError:
        return 0.0
    return cgroups.cpu_seconds(daemon.delegated.version, text)


def limit_files(group: Path, most: int, limited: set[int]) -> None:
    """Give builds the limit of files' sizes that their daemon can't have; what they start has it.

    The daemon writes the store's database, which is larger than many a limit. `limited` holds
    whom it was given before.
    """
    known = set(disk.pids_of(str(group)))
    limited &= known
    if limited == known:
        return
    for pid in builds(known - limited):
        # one that lowers its own just now is looked at once more
        with suppress(ProcessLookupError, PermissionError):
            soft, hard = (_lower(own, most) for own in resource.prlimit(pid, resource.RLIMIT_FSIZE))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            limited.add(pid)


def _lower(own: int, most: int) -> int:
    """Nobody without privilege may raise what a build has lowered itself."""
    return most if own == resource.RLIM_INFINITY else min(own, most)


def main() -> None:
    daemon = told(sys.argv[1])
    group = Path(daemon.cgroups, daemon.delegated.folders["pids"], daemon.name)
    limited: set[int] = set()

    def spent() -> bool:
        if daemon.file_size_bytes < daemon.limits.file_size_bytes:
            limit_files(group, daemon.file_size_bytes, limited)
        beside = cpu_beside(daemon) if daemon.beside else 0.0
        return beside > 0 and beside + cpu_beside(own) >= daemon.limits.cpu_seconds

    own = replace(daemon, beside=f"{daemon.delegated.folders['cpuacct']}/{daemon.name}")
    report = stoppable.run(
        daemon.delegated,
        daemon.name,
        jail_of(daemon),
        daemon.limits,
        stop_fd=0,
        stop_when=spent,
        cgroups=daemon.cgroups,
        used=Written(daemon.scratch, daemon.store, str(group), daemon.limits.disk_bytes),
    )
    sys.stdout.buffer.write(encode(DependenciesDone(report)))


def limits_for(asked: StageLimits) -> StageLimits:
    """A daemon's own: it ends after the evaluation, and writes the store's database too."""
    return StageLimits(
        **asdict(asked)
        | {
            "wall_seconds": asked.wall_seconds + 10.0,
            "stdout_bytes": nix.MAX_OUTPUT_BYTES,
            "stderr_bytes": nix.MAX_OUTPUT_BYTES,
            "file_size_bytes": max(asked.file_size_bytes, GIB),
        }
    )


if __name__ == "__main__":
    main()
