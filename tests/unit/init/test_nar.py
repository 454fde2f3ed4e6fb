"""What a build left becomes a NAR, whatever it left, and nothing beside it is read."""

# names as a program uses them, some no text and some too deep for a path
# ruff: noqa: PTH101, PTH103, PTH123, PTH208, PTH211

from __future__ import annotations

import hashlib
import os
import resource
import socket
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings

from builder.nar import NarChecker
from init import folders, nar
from tests.unit.builder.nars import FOLDERS, MAGIC, as_nar, file, folder, link, program, write
from tests.unit.init.trees import as_nobody, deep, in_child


@pytest.fixture
def tree(tmp_path):
    made = tmp_path / "tree"
    made.mkdir()
    return made


def packed(tree, *names):
    return b"".join(nar.pieces(str(tree), names or os.listdir(tree)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(FOLDERS)
def test_any_tree_is_packed_and_passes_the_check(tmp_path, tree):
    top = tmp_path / "tree"
    folders.remove(str(top))
    write(tree, os.fsencode(top))
    data = packed(top)
    assert data == MAGIC + as_nar(tree)
    checker = NarChecker(os.listdir(top), max_bytes=len(data))
    checker.feed(data)
    assert checker.end().sha256 == hashlib.sha256(data).digest()


def test_only_the_names_that_are_asked_for_come_along(tree):
    for name in ("b", "a", "other", "B"):
        (tree / name).write_text(name)
    assert packed(tree, "b", "B", "a") == MAGIC + folder(
        (b"B", file(b"B")), (b"a", file(b"a")), (b"b", file(b"b"))
    )
    assert b"".join(nar.pieces(str(tree), [])) == MAGIC + folder()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0"])
def test_what_is_no_name_is_not_asked_for(tree, name):
    with pytest.raises(ValueError, match="not a file name"):
        packed(tree, name)


def test_no_name_is_asked_for_twice(tree):
    (tree / "a").touch()
    with pytest.raises(ValueError, match="twice"):
        packed(tree, "a", "a")


def test_a_missing_name_is_named(tree):
    with pytest.raises(nar.NarError, match="gone: No such file") as caught:
        packed(tree, "gone")
    assert caught.value.path == "gone"


def test_links_are_packed_and_not_followed(tree, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    (tree / "folder").symlink_to(tmp_path / "secret")
    (tree / "file").symlink_to("../secret/file")
    (tree / "self").symlink_to("self")
    os.symlink(b"\xff" + b"t" * 4094, tree / "long")
    secret = os.fsencode(tmp_path / "secret")
    assert packed(tree) == MAGIC + folder(
        (b"file", link(b"../secret/file")),
        (b"folder", link(secret)),
        (b"long", link(b"\xff" + b"t" * 4094)),
        (b"self", link(b"self")),
    )


def test_a_folder_that_is_a_link_is_not_read(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    with pytest.raises(NotADirectoryError):
        packed(tmp_path / "link", "x")


def test_of_all_modes_only_the_owners_executable_bit_is_kept(tree):
    modes = {"a": 0o777, "b": 0o644, "c": 0o4755, "d": 0o2655, "e": 0o1700, "f": 0o100, "g": 0}
    for name, mode in modes.items():
        (tree / name).touch()
        (tree / name).chmod(mode)
    assert packed(tree) == MAGIC + folder(
        *[(name.encode(), (program if mode & 0o100 else file)(b"")) for name, mode in modes.items()]
    )


def test_hard_links_are_packed_each(tree):
    (tree / "a").write_text("one")
    (tree / "b").hardlink_to(tree / "a")
    assert packed(tree) == MAGIC + folder((b"a", file(b"one")), (b"b", file(b"one")))


def test_names_that_are_no_text_stay_what_they_are(tree):
    names = [b"\x80", b"\n", b"\xc3\xa9", b"\xff\xfe", b"~", b"a" * 255]
    for name in names:
        open(os.fsencode(tree) + b"/" + name, "w").close()
    assert packed(tree) == MAGIC + folder(*[(name, file(b"")) for name in sorted(names)])


def test_what_its_owner_may_not_read_is_packed(tmp_path):
    def do():
        os.makedirs("tree/a/b")
        with open("tree/a/b/file", "w") as out:
            out.write("hello")
        with open("tree/a/run", "w") as out:
            out.write("run")
        os.chmod("tree/a/run", 0o100)
        os.chmod("tree/a/b/file", 0)
        os.chmod("tree/a/b", 0o400)
        os.chmod("tree/a", 0)
        inside = folder((b"b", folder((b"file", file(b"hello")))), (b"run", program(b"run")))
        before = os.listdir("/proc/self/fd")
        assert packed("tree", "a") == MAGIC + folder((b"a", inside))
        assert len(os.listdir("/proc/self/fd")) == len(before)

    as_nobody(tmp_path, do)


def test_what_is_another_users_is_named(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/secret").touch(0o600)

    def do():
        with pytest.raises(nar.NarError, match=r"a/secret: Permission denied"):
            packed("tree", "a")

    as_nobody(tmp_path, do)


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_neither_file_nor_folder_nor_link_is_named(tree, kind, monkeypatch):
    (tree / "a").mkdir()
    where = str(tree / "a/odd")
    if kind == "fifo":
        os.mkfifo(where)
    elif kind == "socket":
        monkeypatch.chdir(tree)  # such a path is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("a/odd")
    elif os.geteuid() == 0:
        os.mknod(where, 0o20600, os.makedev(1, 3))
    else:
        pytest.skip("only root makes devices")
    with pytest.raises(nar.NarError, match=r"^a/odd: neither"):
        packed(tree)


def test_a_message_is_short_and_printable_however_deep_the_tree(tree):
    deep(tree, "d" * 200, 100)
    top = os.open(tree, os.O_RDONLY)
    for _ in range(100):
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.mkfifo(b"\xff\n", dir_fd=top)
    os.close(top)
    with pytest.raises(nar.NarError) as caught:
        packed(tree)
    assert len(str(caught.value)) < 1000
    assert caught.value.path.isascii()
    assert caught.value.path.isprintable()


@pytest.mark.parametrize(("name", "levels"), [("x" * 200, 25), ("d", 1500)])
def test_a_tree_of_any_depth_is_packed(tree, name, levels):
    deep(tree, name, levels)
    expected = folder((b"file", program(b"hello")))  # open() makes it executable
    for _ in range(levels):
        expected = folder((name.encode(), expected))
    assert packed(tree) == MAGIC + expected


def test_few_descriptors_are_enough(tree, tmp_path):
    deep(tree, "d", 300)

    def with_few():
        most = max(map(int, os.listdir("/proc/self/fd"))) + 6
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        packed("tree", "d")

    in_child(tmp_path, with_few)


def test_a_file_mostly_of_holes_is_not_held(tree):
    size = 900 * 2**20
    with (tree / "a").open("wb") as out:
        out.truncate(size)
    found = 0
    tracemalloc.start()
    try:
        for piece in nar.pieces(str(tree), ["a"]):
            assert 0 < len(piece) <= nar.PIECE_BYTES
            found += len(piece)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == len(MAGIC + folder((b"a", file(b"")))) + size
    assert most < 8 * 2**20


def test_many_entries_are_few_pieces(tree):
    (tree / "a").mkdir()
    for number in range(20_000):
        os.symlink("t", tree / f"a/{number}")
    made = list(nar.pieces(str(tree), ["a"]))
    assert max(map(len, made)) <= nar.PIECE_BYTES
    assert len(made) < 10
    checker = NarChecker(["a"], max_bytes=2**30)
    for piece in made:
        checker.feed(piece)
    checker.end()


def test_a_piece_has_its_length_at_most_where_files_are_about_as_long(tree):
    sizes = [nar.PIECE_BYTES + more for more in (-200, -90, -8, -1, 0, 1, 7, 90)]
    for number, size in enumerate(sizes):
        (tree / f"{number}").write_bytes(b"x" * size)
    made = list(nar.pieces(str(tree), os.listdir(tree)))
    assert max(map(len, made)) == nar.PIECE_BYTES
    entries = [(b"%d" % number, file(b"x" * size)) for number, size in enumerate(sizes)]
    assert b"".join(made) == MAGIC + folder(*entries)


def test_more_names_than_can_be_sorted_are_refused(tree, monkeypatch):
    monkeypatch.setattr(nar, "MAX_ENTRIES", 4)
    for name in ("b", "c"):
        (tree / "a" / name).mkdir(parents=True)
    (tree / "a/b/d").touch()
    packed(tree)
    (tree / "a/c/d").touch()
    with pytest.raises(nar.NarError, match="a/c: with it there are more than 4 files"):
        packed(tree)


BIG = 3 * 2**20


def test_a_file_that_became_shorter_is_told(tree):
    (tree / "a").mkdir()
    (tree / "a/file").write_bytes(bytes(BIG))
    made = nar.pieces(str(tree), ["a"])
    next(made)
    os.truncate(tree / "a/file", 100)
    with pytest.raises(nar.NarError, match=r"^a/file: became shorter"):
        list(made)


def test_a_file_that_became_longer_is_told(tree):
    (tree / "a").write_bytes(bytes(BIG))
    made = nar.pieces(str(tree), ["a"])
    next(made)
    os.truncate(tree / "a", BIG + 1)
    with pytest.raises(nar.NarError, match=r"^a: became longer"):
        list(made)


def test_a_folder_that_was_moved_away_does_not_lead_elsewhere(tree, tmp_path):
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_bytes(bytes(BIG))
    (tree / "a/c").write_text("own")
    made = nar.pieces(str(tree), ["a"])
    next(made)
    (tree / "a/b").rename(tmp_path / "b")
    (tmp_path / "c").write_text("secret")
    with pytest.raises(nar.NarError, match=r"^a: a folder below it was moved away"):
        list(made)


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("by", ["a link elsewhere", "a link to itself", "another"])
def test_what_is_replaced_meanwhile_is_not_read(tree, tmp_path, monkeypatch, kind, by):
    victim, other, old = tree / "a", tmp_path / "other", tmp_path / "old"
    for one in (victim, other):
        if kind == "file":
            one.write_text("secret")
        else:
            one.mkdir()
            (one / "secret").touch()

    def replace():
        victim.rename(old)
        if by == "another":
            other.rename(victim)
        else:
            victim.symlink_to(other if by == "a link elsewhere" else old)

    after_stat(monkeypatch, replace)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(nar.NarError, match=r"^a: "):
        packed(tree, "a")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_is_replaced_meanwhile_keeps_its_mode(tree, tmp_path, monkeypatch):
    (tree / "a").touch()
    (tree / "a").chmod(0)
    (tmp_path / "other").touch()
    (tmp_path / "other").chmod(0o200)
    after_stat(monkeypatch, lambda: (tmp_path / "other").replace(tree / "a"))
    with pytest.raises(nar.NarError, match=r"^a: was replaced"):
        packed(tree, "a")
    assert (tree / "a").stat().st_mode & 0o777 == 0o200


def after_stat(monkeypatch, do):
    """Do something as soon as the status of `a` was taken: the worst moment."""
    really = os.stat

    def stat(*args, **more):
        found = really(*args, **more)
        if args == (b"a",):
            do()
        return found

    monkeypatch.setattr(nar.os, "stat", stat)


def test_who_stops_in_between_leaves_nothing_open(tree):
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_bytes(bytes(BIG))
    before = os.listdir("/proc/self/fd")
    made = nar.pieces(str(tree), ["a"])
    next(made)
    assert len(os.listdir("/proc/self/fd")) > len(before)
    made.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_nothing_is_left_open_when_it_fails(tree):
    (tree / "a/b").mkdir(parents=True)
    os.mkfifo(tree / "a/b/fifo")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(nar.NarError):
        packed(tree)
    assert len(os.listdir("/proc/self/fd")) == len(before)
