"""What goes and what stays, and what then leaves the cache. Pure."""

from __future__ import annotations

from builder.catalogue import Catalogue, Record
from builder.collect import Policy, Used, doomed, prune

SIZES = {"/nix/store/shared": 50, "/nix/store/a": 30, "/nix/store/b": 20, "/nix/store/c": 10}
A = Used("a", 100.0, ("/nix/store/shared", "/nix/store/a"))
B = Used("b", 200.0, ("/nix/store/shared", "/nix/store/b"))
C = Used("c", 300.0, ("/nix/store/c",))
ALL = (C, A, B)


def ids(policy, now=1000.0):
    return [one.id for one in doomed(ALL, SIZES, policy, now)]


def test_nothing_goes_without_a_limit():
    policy = Policy(0, 0.0, 0.0)
    assert (policy.collects, ids(policy)) == (False, [])


def test_by_age():
    assert ids(Policy(0, 750.0, 0.0)) == ["a", "b"]


def test_by_size_the_longest_unused_first_and_no_more_than_needed():
    assert ids(Policy(110, 0.0, 0.0)) == []
    assert ids(Policy(80, 0.0, 0.0)) == ["a"]


def test_a_shared_path_goes_with_the_last_that_holds_it():
    assert ids(Policy(79, 0.0, 0.0)) == ["a", "b"]
    assert ids(Policy(10, 0.0, 0.0)) == ["a", "b"]


def test_nothing_goes_within_the_grace():
    assert ids(Policy(1, 1.0, 850.0)) == ["a"]
    assert ids(Policy(1, 1.0, 5000.0)) == []


async def kept(tmp_path):
    path = tmp_path / "store" / "x"
    path.mkdir(parents=True)
    catalogue = Catalogue(tmp_path / "records", tmp_path / "roots")
    await catalogue.keep(Record("e" * 32, str(path), (str(path),), "{}", "now", 1.0))
    ((record, at),) = catalogue.used()
    return catalogue, record, at


async def test_what_was_asked_for_meanwhile_is_not_removed(tmp_path):
    catalogue, record, at = await kept(tmp_path)
    import os

    os.utime(tmp_path / "records" / f"{record.id}.json", (at + 5, at + 5))
    assert not catalogue.remove(record.id, unused_since=at)
    assert catalogue.find(record.id) == record


async def test_what_is_removed_is_not_found_and_has_no_root(tmp_path):
    catalogue, record, at = await kept(tmp_path)
    assert catalogue.remove(record.id, unused_since=at)
    assert catalogue.find(record.id) is None
    assert not list((tmp_path / "roots").iterdir())
    assert not list((tmp_path / "records").iterdir())
    assert not catalogue.remove(record.id, unused_since=at)


async def test_what_was_killed_in_the_middle_leaves_neither_root_nor_file(tmp_path):
    """A removal between two of its lines, and a keeping before its record was written."""
    catalogue, record, _ = await kept(tmp_path)
    roots, records = tmp_path / "roots", tmp_path / "records"
    (roots / "a").symlink_to(record.path)
    (records / "a.old").touch()
    (roots / "b").symlink_to(record.path)
    (roots / ".c.7.new").symlink_to(record.path)
    (records / "d.json.new").touch()
    catalogue.settle()
    assert [root.name for root in roots.iterdir()] == [record.id]
    assert [file.name for file in records.iterdir()] == [f"{record.id}.json"]
    assert catalogue.find(record.id) == record


async def test_finding_counts_as_use(tmp_path):
    catalogue, record, at = await kept(tmp_path)
    import os

    os.utime(tmp_path / "records" / f"{record.id}.json", (1, 1))
    catalogue.find(record.id)
    ((_, again),) = catalogue.used()
    assert again >= at


def test_the_cache_keeps_what_the_store_has(tmp_path):
    (tmp_path / "nar").mkdir()
    for name, nar in (("a" * 32, "one"), ("b" * 32, "two"), ("c" * 32, "one")):
        (tmp_path / f"{name}.narinfo").write_text(f"StorePath: x\nURL: nar/{nar}.nar.zst\n")
        (tmp_path / "nar" / f"{nar}.nar.zst").touch()
    assert prune(tmp_path, {f"/nix/store/{'a' * 32}-x": 1}) == 2
    assert [file.name for file in tmp_path.glob("*.narinfo")] == [f"{'a' * 32}.narinfo"]
    assert [file.name for file in (tmp_path / "nar").iterdir()] == ["one.nar.zst"]
