"""One job of the trusted side's: its nix-daemon, or its fetch, and who keeps it.

`python3 -P -s -S -m builder.daemon JSON` is the keeper. It runs the daemon in a jail, in the job's
cgroup, under the operator's limits: all builds are the daemon's children, so they hold for every
build. It ends everything when its stdin ends, so a builder that dies leaves no build behind, and
prints how it ended as one frame. Standard library only, as `init/`: it starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace

from init import nix, nix_jails, stoppable
from init.frames import Delegated, DependenciesDone
from init.jail import Jail
from init.limits import StageLimits
from init.wire import encode


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a keeper is told. `folder` takes the socket, `scratch` what builds write.

    With `paths` the keeper fetches these from a cache, as Nix's `config` says, and there is no
    daemon.
    """

    name: str
    folder: str
    scratch: str
    store: str
    cgroups: str
    delegated: Delegated
    limits: StageLimits
    paths: tuple[str, ...] = ()
    config: str = ""

    def argv(self) -> list[str]:
        return [sys.executable, "-P", "-s", "-S", "-m", "builder.daemon", json.dumps(asdict(self))]


def read(text: str) -> Daemon:
    data = json.loads(text)
    return Daemon(
        **data
        | {
            "delegated": Delegated(**data["delegated"]),
            "limits": StageLimits(**data["limits"]),
            "paths": tuple(data["paths"]),
        }
    )


def jail_of(daemon: Daemon) -> Jail:
    if daemon.paths:
        return nix_jails.fetch_jail(
            uid=os.getuid(), store=daemon.store, paths=daemon.paths, config=daemon.config
        )
    return nix_jails.daemon_jail(
        uid=os.getuid(),
        store=daemon.store,
        folder=daemon.folder,
        scratch=daemon.scratch,
    )


def main() -> None:
    daemon = read(sys.argv[1])
    report = stoppable.run(
        daemon.delegated,
        daemon.name,
        jail_of(daemon),
        replace(
            daemon.limits, stdout_bytes=nix.MAX_OUTPUT_BYTES, stderr_bytes=nix.MAX_OUTPUT_BYTES
        ),
        stop_fd=0,
        cgroups=daemon.cgroups,
    )
    sys.stdout.buffer.write(encode(DependenciesDone(report)))


if __name__ == "__main__":
    main()
