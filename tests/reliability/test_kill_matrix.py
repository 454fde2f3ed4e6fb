"""Any process may die, or stand still for longer than its lease, at any moment: nothing is lost."""

from __future__ import annotations

import pytest

from tests.reliability.engine import engine
from tests.reliability.matrix import shuffled, storm

pytestmark = pytest.mark.integration
SEED = 5


@pytest.mark.timeout(900)
async def test_whatever_dies_or_freezes_at_any_transition_nothing_is_lost(make_state, stormy):
    cells = shuffled(SEED)
    state = make_state()
    async with engine() as own:
        report = await storm(state, own, cells, SEED)
    print("\n".join(report.lines()))  # noqa: T201 - pytest shows it when the test fails
    assert report.wrong == []
    assert len(report.struck) > 0.9 * len(cells)
    assert len(report.sent) > 20
