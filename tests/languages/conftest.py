"""The system of the end-to-end tests, over a store that has what every ready-made shell needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, SHARED, make_state, running

__all__ = ["make_state", "prepared", "running"]


@pytest.fixture(scope="session")
def prepared():
    """Nix builds here what the shells need, so that no test waits in the builder's queue."""
    argv = [sys.executable, "-m", "nix", "languages", "--state", str(SHARED)]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
