"""Files are written and copied without following a link."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from init import tree
from init.frames import JobFile


@pytest.fixture
def both(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


def test_files_are_written_below_folders(tmp_path):
    tree.write(str(tmp_path), [JobFile("a/b/c", b"1"), JobFile("a/d", b"#!x"), JobFile("e", b"")])
    assert (tmp_path / "a/b/c").read_bytes() == b"1"
    assert (tmp_path / "a/d").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0"])
def test_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="below the work folder"):
        tree.write(str(tmp_path), [JobFile(name, b"")])
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_followed_when_writing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/file").symlink_to(tmp_path / "out/file")
    for name in ("folder/x", "file"):
        with pytest.raises(OSError, match=r"Not a directory|File exists|Too many levels"):
            tree.write(str(tmp_path / "in"), [JobFile(name, b"x")])
    assert list((tmp_path / "out").iterdir()) == []


def test_same_name_twice_is_refused(tmp_path):
    with pytest.raises(FileExistsError):
        tree.write(str(tmp_path), [JobFile("a", b"1"), JobFile("a", b"2")])


def test_copy_keeps_modes_times_links_and_holes(both):
    source, target = both
    (source / "d").mkdir()
    (source / "d/file").write_bytes(b"data")
    (source / "d/file").chmod(0o751)
    os.utime(source / "d/file", (1, 2))
    os.link(source / "d/file", source / "again")
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    with (source / "hole").open("wb") as file:
        file.truncate(10_000_000)
        file.seek(5_000_000)
        file.write(b"middle")
    os.utime(source / "d", (3, 4))
    tree.copy(str(source), str(target))
    copied = (target / "d/file").stat()
    assert (copied.st_mode & 0o777, copied.st_mtime, copied.st_nlink) == (0o751, 2, 2)
    assert (target / "d").stat().st_mtime == 4
    assert (target / "link").readlink() == Path("/etc/passwd")
    assert (target / "hole").read_bytes() == (source / "hole").read_bytes()
    assert (target / "hole").stat().st_blocks * 512 < 100_000
    assert (target / "pipe").is_fifo()


def _chain(folder, depth, leaf):
    """Folders in folders, deeper than any path is long; the last one holds `leaf`."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 100, dir_fd=fd)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with os.fdopen(os.open(leaf, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd), "wb") as file:
        file.write(b"12345")
    os.link(leaf, "other", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)


def test_copy_of_a_tree_deeper_than_any_path_is_whole(both):
    source, target = both
    _chain(source, 600, "leaf")
    (source / "beside").write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    tree.copy(str(source), str(target))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert (target / "beside").read_bytes() == b"x"
    fd = os.open(target, os.O_RDONLY)
    for _ in range(600):
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    assert sorted(entry.name for entry in os.scandir(fd)) == ["leaf", "other"]
    os.close(fd)


def test_copy_keeps_names_that_are_not_utf_8(both):
    source, target = both
    name = os.fsdecode(b"\xff\xfe\n")
    (source / name).mkdir()
    (source / name / name).write_bytes(b"x")
    tree.copy(str(source), str(target))
    assert (target / name / name).read_bytes() == b"x"


def test_file_that_has_grown_to_a_size_is_found_where_it_is(both):
    source, _ = both
    (source / "a/b").mkdir(parents=True)
    (source / "a/c").mkdir()
    assert not tree.has_grown_to(str(source), 5, 0)
    _chain(source / "a/c", 100, "leaf")
    assert tree.has_grown_to(str(source), 5, 0)
    assert not tree.has_grown_to(str(source), 6, 0)
    assert not tree.has_grown_to(str(source), 5, time.time_ns() + 10**9)


def test_copy_passes_over_what_would_replace_a_written_file(both):
    source, target = both
    (source / "a").mkdir(0o500)
    (source / "a").chmod(0o700)
    (source / "a/key").write_bytes(b"evil")
    (source / "a/other").write_bytes(b"other")
    (source / "a").chmod(0o500)
    (source / "b").symlink_to("a")
    (source / "run.sh/deep").mkdir(parents=True)
    names = ["a/key", "b/key", "run.sh"]
    tree.write(str(target), [JobFile(name, b"mine") for name in names], at_ns=5_000_000_000)
    tree.copy(str(source), str(target), names)
    assert [(target / name).read_bytes() for name in names] == [b"mine"] * 3
    assert (target / "run.sh").stat().st_mtime == 5
    assert (target / "a/other").read_bytes() == b"other"
    assert (target / "a").stat().st_mode & 0o777 == 0o755
    assert not (target / "b").is_symlink()


def test_copy_links_no_file_to_one_that_it_passed_over(both):
    source, target = both
    (source / "run.sh").write_bytes(b"evil")
    os.link(source / "run.sh", source / "also")
    tree.write(str(target), [JobFile("run.sh", b"mine")])
    tree.copy(str(source), str(target), ["run.sh"])
    assert (target / "run.sh").read_bytes() == b"mine"
    assert (target / "also").read_bytes() == b"evil"
