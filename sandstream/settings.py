"""The settings of the stack and of its command line, from SANDSTREAM_* variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandstream.state import CHECKOUT

#: Of the host's memory, for all that a builder's container does.
_BUILDER_SHARE: Final = 0.8


def _builder_memory() -> int:
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(host * _BUILDER_SHARE)


class StackSettings(BaseSettings):
    """What `up`, `demo` and a client want to know; services have settings of their own."""

    model_config = SettingsConfigDict(
        env_prefix="SANDSTREAM_", extra="ignore", env_ignore_empty=True
    )

    state: Path = Field(
        default=CHECKOUT / ".state",
        description="Folder of everything that `make up` keeps: the log, the Nix store, secrets.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the API listens on; 0: any free one."
    )
    keys_file: Path | None = Field(
        default=None,
        description="File of mode 0600 with a line `name key` for each caller; none: the API needs"
        " no key.",
    )
    key_file: Path | None = Field(
        default=None,
        description="File with the API key that `.venv/bin/sandstream` sends; none: the first of"
        " SANDSTREAM_KEYS_FILE, to the API of this host alone.",
    )
    nats_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the event log's server; 0: a free one."
    )
    nats_host: str = Field(
        default="127.0.0.1",
        description="Address that the event log's server listens on: workers and builders of other"
        " hosts need one that they reach, in a network that strangers don't.",
    )
    cluster: str = Field(
        default="",
        description="Servers of a log that others keep, comma-separated; empty: one is started.",
    )
    cache_listen: str = Field(
        default="",
        description="`address:port` at which this host serves its binary cache; none: it does not.",
    )
    builder_memory_bytes: int = Field(
        default_factory=_builder_memory,
        gt=0,
        description="The wall around all jobs of a builder together (by default 80 % of the host's"
        " memory).",
    )
