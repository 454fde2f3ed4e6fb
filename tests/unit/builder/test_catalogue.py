"""Records: found only while store and root are there, whole or not at all."""

from __future__ import annotations

from dataclasses import replace

from builder import catalogue as catalogues
from builder.catalogue import Catalogue, Record


def make(tmp_path):
    path = tmp_path / "store" / "x"
    path.mkdir(parents=True, exist_ok=True)
    record = Record("e" * 32, str(path), (str(path),), '{"é": 1}', "now", 1.5)
    return Catalogue(tmp_path / "records", tmp_path / "roots"), record


async def test_what_was_kept_is_found_by_a_later_life(tmp_path):
    catalogue, record = make(tmp_path)
    assert catalogue.find(record.id) is None
    await catalogue.keep(record)
    assert catalogue.find(record.id) is record
    assert make(tmp_path)[0].find(record.id) == record
    assert (tmp_path / "roots" / record.id).readlink().as_posix() == record.path


async def test_what_the_store_has_lost_is_not_found(tmp_path):
    catalogue, record = make(tmp_path)
    await catalogue.keep(record)
    (tmp_path / "store" / "x").rmdir()
    assert catalogue.find(record.id) is None
    assert Catalogue(tmp_path / "records", tmp_path / "roots").find(record.id) is None


async def test_a_path_that_is_a_link_to_nowhere_is_there(tmp_path):
    catalogue, record = make(tmp_path)
    await catalogue.keep(record)
    (tmp_path / "store" / "x").rmdir()
    (tmp_path / "store" / "x").symlink_to("/build/gone")
    assert catalogue.find(record.id) is record
    assert Catalogue(tmp_path / "records", tmp_path / "roots").find(record.id) == record


async def test_what_has_lost_its_root_is_not_found(tmp_path):
    catalogue, record = make(tmp_path)
    await catalogue.keep(record)
    (tmp_path / "roots" / record.id).unlink()
    assert catalogue.find(record.id) is None


async def test_a_damaged_record_is_not_found_and_can_be_kept_again(tmp_path):
    catalogue, record = make(tmp_path)
    await catalogue.keep(record)
    (tmp_path / "records" / f"{record.id}.json").write_text('{"id": ')
    fresh = Catalogue(tmp_path / "records", tmp_path / "roots")
    assert fresh.find(record.id) is None
    await fresh.keep(record)
    assert fresh.find(record.id) is record


async def test_no_more_is_remembered_than_there_is_room_for(tmp_path, monkeypatch):
    """A shell may have megabytes of variables, and thousands of shells may be built."""
    catalogue, record = make(tmp_path)
    monkeypatch.setattr(catalogues, "_KNOWN_LETTERS", 2500)
    some = [replace(record, id=f"{n}" * 32, profile="x" * 1000) for n in range(4)]
    for one in some:
        await catalogue.keep(one)
    assert list(catalogue._known) == [one.id for one in some[2:]]
    assert catalogue.find(some[0].id) == some[0]
    assert list(catalogue._known) == [some[3].id, some[0].id]
    large = replace(record, id="f" * 32, profile="x" * 9000)
    await catalogue.keep(large)
    assert list(catalogue._known) == [large.id]
    assert catalogue.find(large.id) is large
    fresh = make(tmp_path)[0]
    assert len(list(fresh.used())) == 5
    assert not fresh._known
