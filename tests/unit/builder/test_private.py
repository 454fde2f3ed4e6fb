"""What served one submission alone is removed after its grace, and nothing else is."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from builder import private
from builder.catalogue import Catalogue, Record
from builder.errors import StoreFailed
from builder.private import PrivateEnvironments
from builder.shared import Shared


@pytest.fixture
def kept(tmp_path):
    shared = Shared(tmp_path / "nix")
    (tmp_path / "nix/store").mkdir(parents=True)
    shared.make()
    return shared, Catalogue(shared.environments, shared.roots)


async def keep(catalogue, tmp_path, id_, *, age, private_to=None):
    path = tmp_path / "nix/store" / id_
    path.mkdir()
    record = Record(id_, str(path), (), "{}", "now", 1.0, held=(str(path),), private_to=private_to)
    await catalogue.keep(record)
    then = time.time() - age
    os.utime(catalogue._file(record.key), (then, then))
    return record


async def test_only_old_private_ones_go(kept, tmp_path, monkeypatch):
    deleted = []

    async def run(argv, **_):
        deleted.append(argv)

    monkeypatch.setattr(private.nixstore, "run", run)
    shared, catalogue = kept
    old = await keep(catalogue, tmp_path, "old", age=100, private_to="s1")
    new = await keep(catalogue, tmp_path, "new", age=1, private_to="s2")
    await keep(catalogue, tmp_path, "everybodys", age=100)
    assert catalogue.find("old") is None  # nobody else is given it
    assert await PrivateEnvironments(shared, catalogue, 50).remove() == 1
    assert deleted == [["nix-store", "--delete", old.path]]
    assert {record.key for record, _ in catalogue.used()} == {new.key, "everybodys"}
    assert not os.path.lexists(shared.roots / old.key)


async def test_a_path_that_something_else_needs_stays_and_stops_nothing(
    kept, tmp_path, monkeypatch
):
    async def run(argv, **_):
        raise StoreFailed(argv, 1, "still alive")

    monkeypatch.setattr(private.nixstore, "run", run)
    shared, catalogue = kept
    await keep(catalogue, tmp_path, "a", age=100, private_to="s1")
    await keep(catalogue, tmp_path, "b", age=100, private_to="s1")
    assert await PrivateEnvironments(shared, catalogue, 50).remove() == 2


async def test_nothing_goes_while_the_store_is_in_use(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(private, "_UNUSED_SECONDS", 0.1)
    shared, catalogue = kept
    record = await keep(catalogue, tmp_path, "a", age=100, private_to="s1")
    async with shared.used():
        assert await PrivateEnvironments(shared, catalogue, 50).remove() == 0
    assert replace(record) in [one for one, _ in catalogue.used()]
