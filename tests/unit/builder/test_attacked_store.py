"""A job that wrote where trusted paths are is refused; one that was overtaken begins again."""

from __future__ import annotations

import pytest

from builder.errors import AttackedStore, StaleStore
from builder.shells import _look_for_attack

TRUSTED = f"/nix/store/{'0' * 32}-bash"
OWN = f"/nix/store/{'1' * 32}-mine"


def test_a_job_that_wrote_only_its_own_is_no_attack():
    _look_for_attack("e", [OWN], {TRUSTED: 10}, 20)


def test_a_changed_path_that_was_trusted_before_the_job_is_an_attack():
    with pytest.raises(AttackedStore, match=r"^ATTACK: .*-bash"):
        _look_for_attack("e", [OWN, TRUSTED], {TRUSTED: 10}, 20)


def test_a_path_that_became_trusted_meanwhile_is_none():
    with pytest.raises(StaleStore, match="-bash"):
        _look_for_attack("e", [OWN, TRUSTED], {TRUSTED: 20}, 20)
