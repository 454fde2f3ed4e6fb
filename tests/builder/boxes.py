"""The build containers of a builder's pool, as the host sees them."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path


def pool_of(builder) -> str:
    """The name of the pool that lives now: its log says it when it is ready."""
    log = builder.pair.pool.log.read_text()
    return log.rpartition(": ready, ")[0].rpartition(" ")[2]


def boxes(pool: str) -> dict[str, str]:
    """Ids of its containers by their names, whatever state they are in."""
    argv = [
        "docker", "ps", "--all", "--no-trunc",
        "--filter", f"label=sandstream.worker={pool}",
        "--format", "{{.Names}} {{.ID}}",
    ]  # fmt: skip
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


def jobs(builder) -> list[Path]:
    """Scratch folders of the jobs of this builder's pool."""
    return used(builder.stack.state, pool_of(builder))


def used(state: Path, pool: str = "*-builds-*") -> list[Path]:
    """Scratch folders of jobs; they bear their containers' names. An idle container's is empty."""
    found = []
    for folder in state.absolute().glob(f"worker/{pool}/scratch/*"):
        with suppress(FileNotFoundError):  # it went meanwhile
            if any(folder.iterdir()):
                found.append(folder)
    return found


def processes(id_: str) -> dict[int, str]:
    """Names of a container's processes by pid."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if id_ in (process / "cgroup").read_text():
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def building(pool: str, program: str) -> str | None:
    """The name of the container in which this program runs."""
    for name, id_ in boxes(pool).items():
        if program in processes(id_).values():
            return name
    return None
