"""What all unit tests have in common."""

from __future__ import annotations

import pytest

from init import folders


@pytest.fixture(autouse=True)
def _no_deep_tree_is_left(request):
    """pytest tidies up at the end of its third next run, by recursion, and would fail of it."""
    mine = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if mine is not None:
        folders.remove(str(mine))
