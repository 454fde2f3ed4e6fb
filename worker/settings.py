"""The worker's settings: environment variables that begin with `SANDSTREAM_`."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from init.limits import GIB, MIB

_SOCKET: Final = "/var/run/docker.sock"
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def _host() -> str:
    return _NAME.sub("-", socket.gethostname()) or "worker"


def _socket() -> Path:
    host = os.environ.get("DOCKER_HOST", "")
    return Path(host.removeprefix("unix://") if host.startswith("unix://") else _SOCKET)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class WorkerSettings(BaseSettings):
    """What one worker is called, how much it runs at once, and in what."""

    model_config = SettingsConfigDict(
        env_prefix="SANDSTREAM_", extra="ignore", env_ignore_empty=True
    )

    state: Path = Field(
        default=Path(".state"),
        description="Folder of everything that is kept: store, channel, log, scratch.",
    )
    worker_name: str = Field(
        default_factory=_host,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="Name of this worker in events, logs and labels; one live worker bears it.",
    )
    worker_slots: int = Field(
        default_factory=lambda: 2 * _cores(),
        ge=1,
        description="Submissions that this worker runs at once (by default two for each core).",
    )
    worker_pool: int = Field(
        default_factory=lambda: 2 * _cores(),
        ge=1,
        description="Started, idle containers that this worker keeps (by default two a core).",
    )
    worker_starts: int = Field(
        default_factory=_cores,
        ge=1,
        description="Containers that this worker starts at the same time (by default one a core).",
    )
    worker_drain_seconds: float = Field(
        default=5.0,
        ge=0,
        description="At SIGTERM, time for running submissions to end before others take them over.",
    )
    attempts: int = Field(
        default=3, ge=1, description="Attempts of a submission before it is given up as `failed`."
    )
    cases_at_once: int = Field(
        default=1,
        ge=1,
        description="Test cases of one submission that run at the same time, where they fit.",
    )
    build_deadline_seconds: float = Field(
        default=330.0,
        ge=0,
        description="Without an environment from a builder by then, a worker builds it.",
    )
    storekeeper: Path | None = Field(
        default=None,
        description="Socket of the storekeeper of a host whose store no builder fills;"
        " none: builders of this host do.",
    )
    fetch_seconds: float = Field(
        default=60.0,
        gt=0,
        description="What the storekeeper has not brought by then is built in the container.",
    )
    runner_image: str = Field(
        description="Image of a submission's container; `make up` sets the one of this code."
    )
    docker_socket: Path = Field(
        default_factory=_socket,
        description="Socket of the Docker engine (by default DOCKER_HOST's).",
    )
    cgroups: Path = Field(
        default=Path("/sys/fs/cgroup"), description="Where this host's cgroups are mounted."
    )
    uid_first: int = Field(
        default=1_000_000,
        ge=1000,
        le=2**31,
        description="First uid of the range from which each live container has one of its own.",
    )
    uid_slices: int = Field(
        default=64, ge=1, description="Slices of that range; each worker of a host takes one."
    )
    uid_slice_size: int = Field(
        default=1024, ge=2, description="Uids in a slice: the containers a worker can have at once."
    )
    container_memory_bytes: int = Field(
        default=12 * GIB + 256 * MIB,
        ge=64 * MIB,
        description="Outer wall around a container: the largest stage, twice the compile's files.",
    )
    container_processes: int = Field(
        default=1280, ge=16, description="Outer wall: processes and threads of a container."
    )
    container_cpus: float = Field(
        default_factory=lambda: float(_cores()),
        gt=0,
        description="Outer wall: cores that one container may use (by default all).",
    )
    container_ready_seconds: float = Field(
        default=20.0, gt=0, description="A container that is not ready by then is removed."
    )
    stage_grace_seconds: float = Field(
        default=20.0,
        gt=0,
        description="Beyond a stage's wall limit, time for init to report before it is given up.",
    )
    compare_cpu_seconds: int = Field(
        default=10,
        gt=0,
        description="CPU time for comparing one run's stdout; above it the verdict is"
        " `comparison-limit`.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is logged: debug, info, warning or error."
    )

    @model_validator(mode="after")
    def _enough_uids(self) -> WorkerSettings:
        if self.uid_slice_size < 2 * (self.worker_slots + self.worker_pool):
            raise ValueError("uid_slice_size: at least twice worker_slots + worker_pool")
        return self

    @property
    def by(self) -> str:
        """Who this worker is in its events."""
        return f"worker@{self.worker_name}"

    @property
    def folder(self) -> Path:
        """What this worker alone writes."""
        return self.state.absolute() / "worker" / self.worker_name


class BuildPoolSettings(WorkerSettings):
    """A pool of build containers is a worker's, with one for each job of its builder."""

    builder_jobs: int = Field(default=2, ge=1, description="Builds that run at the same time.")
