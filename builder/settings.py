"""The builder's settings: environment variables that begin with `SANDSTREAM_`."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from builder import decide
from init.limits import LIMITS, Stage, StageLimits

_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_WALL: Final = next(limit for limit in LIMITS if limit.name == "wall_seconds")


def _host() -> str:
    return _NAME.sub("-", socket.gethostname()) or "builder"


class SharingSettings(BaseSettings):
    """Where a store's environments go, and how long they are kept."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    publish_to: str = Field(
        default="",
        description="Nix store that built environments are copied to, signed; `make up` sets it"
        " where SANDSTREAM_CACHE_LISTEN is set. Empty: they are only signed.",
    )
    realise_seconds: float = Field(
        default=120.0, gt=0, description="A worker host's fetch is given up then: a cache miss."
    )
    store_max_bytes: int = Field(
        default=0,
        ge=0,
        description="Above this the environments longest unused are removed; 0: never by size.",
    )
    environment_max_age_seconds: float = Field(
        default=0.0, ge=0, description="Unused for this long, it is removed; 0: never by age."
    )
    environment_grace_seconds: float = Field(
        default=86_400.0,
        ge=0,
        description="Never removed within this time of its last use: longer than any submission.",
    )
    collect_seconds: float = Field(
        default=600.0, gt=0, description="How often the store is looked at for that."
    )


class BuilderSettings(BaseSettings):
    """What a builder is called, how much it builds at once, and where its things are."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    builder_name: str = Field(
        default_factory=_host, description="Name of this builder in events and logs."
    )
    builder_jobs: int = Field(default=2, ge=1, description="Builds that run at the same time.")
    builder_held: int = Field(
        default=64,
        ge=1,
        description="Submissions that a builder has in hand, those that wait for a build included.",
    )
    builder_watch_seconds: float = Field(
        default=1.0,
        gt=0,
        description="How often a waiting submission is looked at: it may have been cancelled.",
    )
    builder_wall_seconds: float = Field(
        default=_WALL.maximum(Stage.DEPENDENCIES),
        gt=0,
        description="A build ends then at the latest; each submission's own limit holds besides.",
    )
    builder_state: Path = Field(
        default=Path("/var/lib/sandstream"),
        description="Folder of this builder's signing key, and of its builds' scratch space.",
    )
    builder_run: Path = Field(
        default=Path("/run/builder"),
        description="Folder of the sockets of this builder's jobs, and of its build pool.",
    )
    builder_cgroups: Path = Field(
        default=Path("/cgroup"), description="Where the host's cgroups are mounted for the builder."
    )
    store: Path = Field(
        default=Path("/nix"), description="Folder of the Nix store, mounted as /nix in every jail."
    )
    channel_revision: str = Field(
        description="Revision of the mounted channel; `make up` sets it. Others are not built."
    )

    limits: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict,
        description="Other defaults and maxima of limits, as JSON:"
        ' {"run": {"wall_seconds": {"default": 5, "maximum": 20}}}.',
    )

    @property
    def host_defaults(self) -> StageLimits:
        """The limits of a build whose request asks for none."""
        return decide.host_defaults(self.limits.get(Stage.DEPENDENCIES.value, {}))

    @property
    def by(self) -> str:
        """Who this builder is in its events."""
        return f"builder@{self.builder_name}"
