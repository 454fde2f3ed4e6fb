"""Whatever a build leaves can be removed, and nothing beside it."""

# names as a program uses them, some no text and some too deep for a path
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH116, PTH123, PTH208

from __future__ import annotations

import os
import resource
import stat
import threading
from contextlib import suppress

import pytest

from init import folders, namespaces
from tests.unit.init.trees import NOBODY, as_nobody, deep, in_child

LONG = "x" * 200


@pytest.mark.parametrize(("name", "levels"), [(LONG, 25), ("d", 1500)])
def test_tree_of_any_depth_goes(tmp_path, name, levels):
    tree = tmp_path / "tree"
    tree.mkdir()
    deep(tree, name, levels)
    deep(tree, "b" + name, 3)
    folders.remove(str(tree))
    assert not any(tmp_path.iterdir())


def test_few_descriptors_are_enough(tmp_path):
    (tmp_path / "tree").mkdir()
    deep(tmp_path / "tree", "d", 300)

    def with_few():
        most = max(map(int, os.listdir("/proc/self/fd"))) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        folders.remove("tree")

    in_child(tmp_path, with_few)
    assert not any(tmp_path.iterdir())


def test_folders_that_forbid_everything_go(tmp_path):
    def do():
        for name in ("tree", "tree/a", "tree/a/b", "tree/a/b/c", "tree/z"):
            os.mkdir(name)
            open(f"{name}/file", "w").close()
        for name in ("tree/a/b/c", "tree/a/b", "tree/a", "tree/z", "tree"):
            os.chmod(name, 0)
        folders.remove("tree")

    as_nobody(tmp_path, do)
    assert not any(tmp_path.iterdir())


def test_links_are_removed_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("kept")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "folder").symlink_to(tmp_path / "kept")
    (tree / "file").symlink_to(tmp_path / "kept/file")
    (tree / "up").symlink_to("..")
    (tree / "hard").hardlink_to(tmp_path / "kept/file")
    (tmp_path / "alone").symlink_to(tmp_path / "kept")
    folders.remove(str(tree))
    folders.remove(str(tmp_path / "alone"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").read_text() == "kept"
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o755


def test_names_that_are_no_text_and_things_that_are_no_files_go(tmp_path):
    tree = os.fsencode(tmp_path / "tree")
    os.makedirs(tree + b"/\xff\xfe/\n/\x80")
    open(tree + b"/\xff\xfe/\xc3", "w").close()
    os.mkfifo(tree + b"/\xff\xfe/fifo")
    folders.remove(os.fsdecode(tree))
    assert not any(tmp_path.iterdir())


def test_nothing_and_a_file_are_removed_as_well(tmp_path):
    (tmp_path / "file").touch()
    folders.remove(str(tmp_path / "file"))
    folders.remove(str(tmp_path / "file"))
    assert not any(tmp_path.iterdir())


def test_what_can_not_go_is_told_when_all_else_is_gone(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs a folder of another user's; CI runs as root")
    theirs = tmp_path / "tree/theirs"
    theirs.mkdir(parents=True, mode=0o755)
    (theirs / "file").touch()
    deep(tmp_path / "tree", "d", 3)
    os.chown(tmp_path / "tree", NOBODY, NOBODY)
    for level in range(1, 4):
        os.chown(tmp_path / "tree" / "/".join("d" * level), NOBODY, NOBODY)

    def do():
        with pytest.raises(PermissionError):
            folders.remove("tree")

    as_nobody(tmp_path, do)
    (left,) = (tmp_path / "tree").iterdir()
    assert [path.name for path in left.iterdir()] == ["file"]


def test_another_file_system_is_not_entered(tmp_path):
    def do():
        namespaces.enter()
        for name in ("tree", "tree/a", "tree/a/mounted"):
            os.mkdir(name)
        namespaces.mount("tmpfs", "tree/a/mounted", "")
        open("tree/a/mounted/file", "w").close()
        open("tree/a/gone", "w").close()
        with pytest.raises(OSError, match="busy"):
            folders.remove("tree")
        assert [entry.name for entry in os.scandir("tree")] != ["a"]
        found = [path for path, _, files in os.walk("tree") if "file" in files]
        assert len(found) == 1
        assert found[0].endswith("/mounted")
        assert not any("gone" in files for _, _, files in os.walk("tree"))

    in_child(tmp_path, do)


def test_two_may_remove_the_same_tree(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for one in range(30):
        (tree / str(one)).mkdir()
        deep(tree / str(one), "d", 20)

    def remove():
        with suppress(OSError):  # the other has not come to its end
            folders.remove(str(tree))

    both = [threading.Thread(target=remove) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    folders.remove(str(tree))
    assert not any(tmp_path.iterdir())


def sizes(path):
    return sorted(status.st_size for status in folders.walk(path) if stat.S_ISREG(status.st_mode))


def test_walk_sees_everything_once_however_deep(tmp_path):
    deep(tmp_path, LONG, 25)
    deep(tmp_path, "d", 1500)
    (tmp_path / "wide").mkdir()
    for one in range(100):
        (tmp_path / "wide" / str(one)).mkdir()
    found = list(folders.walk(str(tmp_path)))
    assert len(found) == 1 + 26 + 1501 + 101
    assert sizes(str(tmp_path)) == [5, 5]
    folders.remove(str(tmp_path / "d"))
    folders.remove(str(tmp_path / LONG))


def test_walk_reads_what_forbids_it_and_leaves_it_as_it_was(tmp_path):
    def do():
        os.makedirs("tree/a/b")
        for name in ("tree/a/b/file", "tree/a/file"):
            with open(name, "w") as file:
                file.write("hello")
        for name, mode in (("tree/a/b", 0o300), ("tree/a", 0o000), ("tree", 0o400)):
            os.chmod(name, mode)
        assert sizes("tree") == [5, 5]
        assert stat.S_IMODE(os.stat("tree").st_mode) == 0o400
        os.chmod("tree", 0o700)
        assert stat.S_IMODE(os.stat("tree/a").st_mode) == 0
        os.chmod("tree/a", 0o700)
        assert stat.S_IMODE(os.stat("tree/a/b").st_mode) == 0o300
        folders.remove("tree")

    as_nobody(tmp_path, do)


def test_walk_leaves_an_output_that_nix_has_taken_meanwhile_as_nix_left_it(tmp_path):
    """Its own mode would be given back to a path that is valid by now, and none could read it."""

    def do():
        os.makedirs("out/a")
        os.chmod("out", 0o055)
        for number, _status in enumerate(folders.walk("out")):
            if number == 0:
                assert stat.S_IMODE(os.stat("out").st_mode) == 0o555
        assert stat.S_IMODE(os.stat("out").st_mode) == 0o555

    as_nobody(tmp_path, do)


def test_walk_says_what_it_can_not_read(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs a folder of another user's; CI runs as root")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/theirs").mkdir(mode=0o700)

    def do():
        with pytest.raises(folders.UnreadableError):
            list(folders.walk("tree"))

    as_nobody(tmp_path, do)


def test_walk_that_loses_its_way_back_says_so(tmp_path):
    deep(tmp_path, "d", 100)
    below = "/".join("d" * 90)
    walk = folders.walk(str(tmp_path))
    for _ in range(100):
        next(walk)
    os.mkdir(tmp_path / "elsewhere")
    os.rename(tmp_path / below, tmp_path / "elsewhere/d")
    with pytest.raises(folders.UnreadableError):
        list(walk)


def test_walk_finds_back_to_what_it_still_holds(tmp_path):
    deep(tmp_path, "d", 20)
    (tmp_path / "side").mkdir()
    deep(tmp_path / "side", "d", 20)
    walk = folders.walk(str(tmp_path))
    found = [next(walk) for _ in range(15)]
    for side in (tmp_path, tmp_path / "side"):  # the walk is below one of them
        os.rename(side / "d/d/d/d", side / "moved")
    found += walk
    assert len(found) >= 1 + 1 + 2 * 3
    assert max(status.st_size for status in found if stat.S_ISREG(status.st_mode)) == 5


def test_nothing_is_below_what_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert list(folders.walk(str(tmp_path / "link"))) == []
    assert list(folders.walk(str(tmp_path / "nothing"))) == []
