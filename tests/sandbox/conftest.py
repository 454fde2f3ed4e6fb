"""The sandbox: made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox import harness, store


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> harness.Sandbox:
    image = harness.image()
    if image is None:
        pytest.skip("no sandstream-base image: run `make setup-tests`; on CI this is a failure")
    folder = Path("/var/tmp/sandstream-test-sandbox")
    folder.mkdir(exist_ok=True)
    # the store is kept; the code is this session's own, as several may run at once
    own = tmp_path_factory.mktemp("sandbox")
    return harness.Sandbox(image, store.make(folder, image), harness.code(own, image), own)
