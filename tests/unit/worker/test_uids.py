"""Uids: never shared by two live containers, of one worker or of two."""

from __future__ import annotations

import pytest

from worker.errors import LeftBehind, NoUids
from worker.uids import Uids, claim


def slice_of(folder, worker: str) -> range:
    return claim(folder / "uids", worker, first=1000, slices=3, size=10)


def test_each_worker_has_a_slice_of_its_own(tmp_path):
    slices = [slice_of(tmp_path, name) for name in "abc"]
    assert slices == [range(1000, 1010), range(1010, 1020), range(1020, 1030)]


def test_a_worker_gets_its_old_slice_again(tmp_path):
    slice_of(tmp_path, "a")
    old = slice_of(tmp_path, "b")
    assert slice_of(tmp_path, "b") == old


def test_no_slice_is_left(tmp_path):
    for name in "abc":
        slice_of(tmp_path, name)
    with pytest.raises(NoUids):
        slice_of(tmp_path, "d")


def test_lent_uids_differ_and_come_back_last():
    uids = Uids(range(3))
    with uids.lent() as one, uids.lent() as two:
        assert {one, two} == {0, 1}
    with uids.lent() as three:
        assert three == 2


def test_no_uid_is_left():
    uids = Uids(range(1))
    with uids.lent(), pytest.raises(NoUids), uids.lent():
        pass


def test_a_uid_comes_back_after_a_failure_but_not_from_a_container_that_may_live():
    uids = Uids(range(1))
    with pytest.raises(OSError), uids.lent():
        raise OSError
    with pytest.raises(LeftBehind), uids.lent():
        raise LeftBehind("c", "no engine")
    with pytest.raises(NoUids), uids.lent():
        pass
