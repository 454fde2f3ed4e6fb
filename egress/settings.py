"""The dependencies stage's network as an administrator sets it; builders and workers read it."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from egress import rules
from egress.rules import Rule


class NetworkSettings(BaseSettings):
    """Which caches serve, and what else a build may reach."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    substituters: str = Field(
        default="",
        validation_alias=AliasChoices("SANDSTREAM_SUBSTITUTERS", "SUBSTITUTERS"),
        description="Binary caches to fetch from (URLs of Nix stores), the first one asked first.",
    )
    trusted_public_keys: str = Field(
        default="",
        validation_alias=AliasChoices("SANDSTREAM_TRUSTED_PUBLIC_KEYS", "TRUSTED_PUBLIC_KEYS"),
        description="Whose signatures count there; what none of them has signed is not taken.",
    )
    dependencies_network: Literal["none", "substituters", "open"] = Field(
        default="substituters",
        description="What a build may reach: none; substituters: those, and for fixed-output"
        " derivations what SANDSTREAM_DEPENDENCIES_ALLOW names; open: all that is on the public"
        " internet.",
    )
    dependencies_allow: str = Field(
        default="",
        description="Hosts that fixed-output derivations may reach over HTTP(S): host, host:port,"
        " *.domain:port, or host:port:address for one that is no public address.",
    )

    @field_validator("dependencies_allow")
    @classmethod
    def _readable(cls, given: str) -> str:
        rules.parse(given)
        return given

    @property
    def fetches(self) -> bool:
        """Whether there is a cache to fetch from."""
        return self.dependencies_network != "none" and bool(self.substituters.strip())

    @property
    def in_container(self) -> tuple[Rule, ...]:
        """What a container that builds may reach by a proxy: its caches, and what is allowed."""
        match self.dependencies_network:
            case "none":
                return ()
            case "open":
                return (*rules.of_urls(self.substituters), rules.ANYTHING)
            case _:
                return (*rules.of_urls(self.substituters), *rules.parse(self.dependencies_allow))
