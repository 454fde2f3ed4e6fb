"""The settings of the API, from SANDSTREAM_* variables."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.limits import LimitOverrides


class ApiSettings(BaseSettings):
    """How the API listens, and what it accepts."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the API listens on; 0: any free one."
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
    limits: LimitOverrides = Field(
        default_factory=LimitOverrides,
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
