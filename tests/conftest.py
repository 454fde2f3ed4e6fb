"""Fixtures: the real NATS server from the wheel, one for each test module, on a free port."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from streams.connection import NatsSettings, connect
from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup

# No test of ours is about time per example, and machines are shared. On CI the examples are the
# same at each run: new ones are looked for where someone can look into what they find.
settings.register_profile(
    "sandstream",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("sandstream")


def pytest_collection_modifyitems(items):
    """Unit tests last: many short files, with which all processes come to their end together.

    A single test of three minutes that begins last would leave the others idle for so long.
    """
    items.sort(key=lambda item: "unit" in item.path.parts)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI a skipped test is a failure: a check that did not run has shown nothing."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped on CI: {report.longrepr}"


class Nats:
    """A running server: its URL, and the settings of each of its users."""

    def __init__(self, url: str, secrets: dict[str, str], process) -> None:
        self.url = url
        self.secrets = secrets
        self.process = process

    def settings(self, user: str) -> NatsSettings:
        return NatsSettings(
            nats_url=self.url, nats_user=user, nats_password=SecretStr(self.secrets[user])
        )

    def connect(self, user: str):
        return connect(self.settings(user), name=f"test-{user}")


@asynccontextmanager
async def log_server(folder: Path, log: LogSettings):
    """A server whose files lie in `folder`."""
    secrets = passwords(folder / "secrets.json")
    config = ServerConfig(folder / "nats", secrets, port=-1)
    async with server(config) as (process, url):
        running = Nats(url, secrets, process)
        async with running.connect("admin") as client:
            await setup(client, log)
        yield running


@pytest_asyncio.fixture
async def nats(request, tmp_path: Path):
    """The real server with the project's own configuration, rights and streams.

    The short lease shows soon what becomes of a dead holder's work. A test of who did which work
    asks for a longer one (`lease`): on a busy machine a living holder can miss two seconds. One of
    what is left after an archive run has a log that may be cut (`keep_days`).
    """
    keeping = request.node.get_closest_marker("keep_days")
    keep_days = keeping.args[0] if keeping else 0
    marker = request.node.get_closest_marker("lease")
    lease_seconds = marker.args[0] if marker else 2.0
    log = LogSettings(lease_seconds=lease_seconds, keep_days=keep_days)
    async with log_server(tmp_path, log) as running:
        yield running
