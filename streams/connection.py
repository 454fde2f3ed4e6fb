"""One connection to NATS, with the defaults that a service wants."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.events import REPEATED

_LOGGER: Final = logging.getLogger(__name__)
_REPEAT_SECONDS: Final = 10.0
_REMEMBERED: Final = 100


class NatsSettings(BaseSettings):
    """Where the event log is, and as whom to speak to it."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    nats_url: str = Field(
        default="nats://127.0.0.1:4222",
        description="Servers of the event log, comma-separated.",
    )
    nats_user: str | None = Field(
        default=None,
        description="User of this service on the NATS server; none: no authentication.",
    )
    nats_password_file: Path | None = Field(
        default=None,
        description="File with that user's password, readable by its owner alone (mode 0600).",
    )
    nats_password: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="The password itself: `docker inspect` and /proc show it, so prefer the file.",
    )
    jetstream_timeout_seconds: float = Field(
        default=5.0, gt=0, description="How long one request to JetStream may take."
    )

    @field_validator("nats_password_file", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return given or None

    @field_validator("nats_password_file")
    @classmethod
    def _private(cls, file: Path | None) -> Path | None:
        if file is not None:
            secret(file)
        return file

    @field_validator("nats_password")
    @classmethod
    def _from_file(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        file = info.data.get("nats_password_file")
        if file is None:
            return given
        if given is not None:
            raise ValueError("SANDSTREAM_NATS_PASSWORD_FILE is set too: unset one of them")
        return SecretStr(secret(file))


def secret(file: Path) -> str:
    """The content of a file that its owner alone can read. Raises ValueError."""
    try:
        mode, text = file.stat().st_mode, file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"can't be read: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ValueError(f"other users can read it: `chmod 600 {file}`")
    if not text:
        raise ValueError("the file is empty")
    return text


@asynccontextmanager
async def connect(settings: NatsSettings, *, name: str) -> AsyncIterator[Client]:
    """A connection that comes back for ever, and says so each time.

    A refused right reaches only the error callback (the caller sees a time-out), so it is logged
    loudly here. Each user has an inbox prefix of its own, so that none reads another's answers.
    """
    damped = _Damped()

    async def on_error(error: Exception) -> None:
        if (times := damped.times(str(error), time.monotonic())) is not None:
            often = f" ({times} times)" if times > 1 else ""
            _LOGGER.error("nats: %s: %s%s", name, error, often)

    async def on_disconnect() -> None:
        if client.is_closed or client.is_draining:
            return
        _LOGGER.warning("nats: %s: disconnected from %s; trying again", name, settings.nats_url)

    async def on_reconnect() -> None:
        _LOGGER.warning("nats: %s: connected again", name)

    password = settings.nats_password
    client = _Client()
    await client.connect(
        servers=settings.nats_url.split(","),
        name=name,
        user=settings.nats_user,
        password=password.get_secret_value() if password else None,
        inbox_prefix=inbox_prefix(settings.nats_user).encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it sleeps so long, whole or not
        # One that is cut off closes nothing: three of these without an answer are all there is.
        ping_interval=3,
        max_outstanding_pings=2,
        connect_timeout=5,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
    )
    try:
        yield client
    finally:
        with suppress(NatsError, OSError):  # the server may be gone before us
            await client.close()


class _Client(Client):
    """Marks what has a header twice: nats-py keeps the last one alone, and events have none."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        headers = Client._parse_header_lines(raw)  # noqa: SLF001 - a test holds it to what it does
        names = [line.partition(b":")[0].strip() for line in raw.split(b"\r\n") if b":" in line]
        if len(names) > len(set(names)):
            headers[REPEATED] = "yes"
        return headers


class _Damped:
    """An error that repeats is said at first, then every ten seconds with how often it came."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}

    def times(self, text: str, now: float) -> int | None:
        """How often it came since it was last said, when it is to be said now."""
        at, count = self._said.get(text, (-_REPEAT_SECONDS, 0))
        say = now - at >= _REPEAT_SECONDS
        if len(self._said) > _REMEMBERED:
            self._said.clear()
        self._said[text] = (now, 0) if say else (at, count + 1)
        return count + 1 if say else None


def inbox_prefix(user: str | None) -> str:
    """The prefix of the subjects at which a user gets its answers."""
    return "_INBOX" if user is None else f"_INBOX_{user}"
