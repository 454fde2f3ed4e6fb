"""The end-to-end suite's stack, under a short lease."""

from __future__ import annotations

import pytest

from sandstream import supervisor
from tests.e2e.conftest import make_state, prepared  # noqa: F401 - fixtures
from tests.reliability.matrix import SETTINGS


@pytest.fixture
def stormy(monkeypatch):
    """Leases of 2 s; and a child that dies often is not left alone for half a minute."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_SECONDS", 0.4)
