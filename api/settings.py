"""The settings of the API, from SANDSTREAM_* variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api import keys
from api.limits import LimitOverrides
from api.rules import Rules, is_loopback, origin, rules
from streams.memory import BUDGET, LEAST_BYTES, budget_of_host


class ApiSettings(BaseSettings):
    """How the API listens, and what it accepts."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the API listens on; 0: any free one."
    )
    published_address: str = Field(
        default="",
        description="Address at which clients reach the API, where that is another than it listens"
        " on, as behind a container's published port; none: SANDSTREAM_HOST. Unless it is of the"
        " loopback device, SANDSTREAM_KEYS_FILE is needed.",
    )
    keys_file: Path | None = Field(
        default=None,
        validate_default=True,
        description="File of mode 0600 with a line `name key` for each caller; none: the API needs"
        " no key.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names and addresses, comma-separated, that a request's Host may have besides"
        " localhost, 127.0.0.1, [::1], SANDSTREAM_HOST and the published address.",
    )
    allowed_origins: str = Field(
        default="",
        description="Origins (scheme://host:port), comma-separated, whose web pages may call the"
        " API (CORS); none: only its own.",
    )
    body_limit_bytes: int = Field(
        default=32 * 1024 * 1024, gt=0, description="Largest body of a request; above it is 413."
    )
    bodies_limit_bytes: int = Field(
        default=512 * 1024 * 1024,
        gt=0,
        description="Bodies that are under way, all together (one always may be); above it is 503.",
    )
    answers_limit_bytes: int = Field(
        default=256 * 1024 * 1024,
        gt=0,
        description="Large answers that are under way, together (one always may be); above it 503.",
    )
    header_seconds: float = Field(
        default=10, gt=0, description="Time for the line and headers of a request to arrive."
    )
    body_seconds: float = Field(
        default=300, gt=0, description="Time for the body of a request to arrive; then it is 408."
    )
    answer_seconds: float = Field(
        default=120,
        gt=0,
        description="A client that takes nothing of its answer for so long is cut off.",
    )
    channel_revision: str = Field(
        default="offline",
        min_length=1,
        description="Revision of the pinned channel; it is a part of every environment's id.",
    )
    memory_budget_bytes: int = Field(
        default_factory=budget_of_host, ge=LEAST_BYTES, description=BUDGET
    )
    limits: LimitOverrides = Field(
        default_factory=LimitOverrides,
        validate_default=True,
        description=(
            "Other defaults and maxima of limits, as JSON: "
            '{"run": {"wall_seconds": {"default": 5, "maximum": 20}}}.'
        ),
    )
    max_files: int = Field(default=1000, gt=0, description="Most files in one submission.")
    max_test_cases: int = Field(default=512, gt=0, description="Most test cases in one submission.")
    max_open_submissions: int = Field(
        default=10_000,
        gt=0,
        description="Submissions that have not ended; above it new ones are refused with 429.",
    )
    max_wait_seconds: float = Field(
        default=300, gt=0, description="Longest ?wait= of a request; a longer one is cut to this."
    )
    heartbeat_seconds: float = Field(
        default=15, gt=0, description="Silence on an event stream after which a comment is sent."
    )
    languages_folder: str = Field(
        default="nix/languages",
        description="Folder of the ready-made shells that GET /languages answers.",
    )
    log_level: str = Field(
        default="info", description="Least severity that is logged: debug, info, warning or error."
    )

    @field_validator("keys_file", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("keys_file")
    @classmethod
    def _usable(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        published = info.data.get("published_address") or info.data.get("host", "")
        if file is not None:
            keys.load(file)
        elif not is_loopback(published):
            raise ValueError(
                f"the API is published at {published}, which others than this host reach: "
                "name a file with a line `name key` for each caller"
            )
        return file

    @field_validator("limits")
    @classmethod
    def _in_memory(cls, limits: LimitOverrides, info: ValidationInfo) -> LimitOverrides:
        budget = info.data.get("memory_budget_bytes")
        return limits if budget is None else limits.in_memory(budget)

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        return ",".join(map(origin, words(value)))

    def rules(self) -> Rules:
        """Which requests are let in. Raises KeysError."""
        return rules(
            [self.host, self.published_address, *words(self.allowed_hosts)],
            words(self.allowed_origins),
            None if self.keys_file is None else keys.load(self.keys_file),
        )


def words(value: str) -> list[str]:
    """The parts of a comma-separated setting."""
    return [word for part in value.split(",") if (word := part.strip())]
