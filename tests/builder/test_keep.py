"""NARs as real Nix has them: the same bytes, the same names, and what it takes into a store."""

# names as a program uses them, some no text and some too deep for a path
# ruff: noqa: PTH103, PTH123, PTH208, PTH211

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings

from builder.keep import environment_path
from builder.nar import NarRefused
from init import folders, nar
from tests.builder.hosts import UID, ask
from tests.unit.builder.nars import (
    FOLDERS,
    MAGIC,
    as_nar,
    check,
    file,
    folder,
    link,
    nested,
    one,
    program,
    write,
)

pytestmark = pytest.mark.integration
ID = "0123456789abcdef" * 4
#: Runs in a builder's image, as the store's owner: NAR on stdin, JSON on stdout.
ADD = """
import asyncio, json, os, sys
from pathlib import Path
from builder.keep import add_environment
async def pieces():
    while data := sys.stdin.buffer.read(100_000):
        yield data
async def add(scratch, id_, names, references, max_bytes):
    try:
        path, nar = await add_environment(
            scratch=Path(scratch), id_=id_, names=names, references=references,
            pieces=pieces(), max_bytes=max_bytes)
        said = {"path": path, "sha256": nar.sha256.hex(), "size": nar.size}
    except Exception as error:
        said = {"error": type(error).__name__, "words": str(error)}
    print(json.dumps(said | {"left": os.listdir(scratch)}))
asyncio.run(add(**json.loads(sys.argv[1])))
"""


class Store:
    """An empty store, and what its owner does in it."""

    def __init__(self, image, folder):
        self.image = image
        self.nix = folder
        for part in ("", "store", "var", "var/nix"):
            (folder / part).mkdir()
            os.chown(folder / part, UID, UID)

    def ask(self, script):
        return ask(self.image, self.nix, script)

    def add(self, data, *, references=(), names=("a",), max_bytes=10**8, scratch="/tmp", id_=ID):
        asked = {
            "scratch": scratch, "id_": id_, "names": names, "references": references,
            "max_bytes": max_bytes,
        }  # fmt: skip
        argv = [
            "docker", "run", "--rm", "--interactive",
            "--network", "none",
            "--user", f"{UID}:{UID}",
            "--cap-drop", "ALL",
            "--read-only",
            "--tmpfs", "/tmp:exec,mode=1777",
            "--tmpfs", "/small:mode=1777,size=1m",
            "--volume", f"{self.nix}:/nix",
            "--entrypoint", "/usr/bin/python3", self.image, "-P", "-c", ADD, json.dumps(asked),
        ]  # fmt: skip
        done = subprocess.run(argv, input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        said = json.loads(done.stdout)
        assert said.pop("left") == []
        return said

    def valid(self):
        return self.ask("nix path-info --all").split()


@pytest.fixture
def store(images, tmp_path):
    return Store(images["builder"], tmp_path / "nix")


@contextmanager
def dumping(image, folder):
    """Real Nix's NARs of what is in a folder: gives a function of a name."""
    script = 'while read -r name; do nix-store --dump "/trees/$name" | sha256sum; done'
    argv = [
        "docker", "run", "--rm", "--interactive", "--network", "none",
        "--volume", f"{folder}:/trees:ro",
        "--entrypoint", "/bin/sh", image, "-c", script,
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def digest(name):
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            return process.stdout.readline().split()[0].decode()

        yield digest
        process.stdin.close()


def test_any_tree_has_the_digest_that_nix_gives_it(images, tmp_path):
    numbers = iter(range(10**6))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(FOLDERS)
    def compare(tree):
        top = tmp_path / f"{next(numbers)}"
        write(tree, os.fsencode(top))
        assert exported(top) == digest(top.name)
        folders.remove(str(top))

    with dumping(images["builder"], tmp_path) as digest:
        compare()


def exported(top):
    """The digest of our own NAR of a folder, once the check has taken it."""
    data = b"".join(nar.pieces(str(top), os.listdir(top)))
    return check(data, os.listdir(top), max_bytes=10**9).sha256.hex()


def test_hostile_trees_have_the_digest_that_nix_gives_them(images, tmp_path):
    top = tmp_path / "tree"
    (top / "deep").mkdir(parents=True)
    os.makedirs(top / "deep" / "/".join(["d" * 50] * 60))
    modes = {"777": 0o777, "000": 0, "setuid": 0o4755, "setgid": 0o2644, "x": 0o100, "gx": 0o654}
    for name, mode in modes.items():
        (top / name).write_text(name)
        (top / name).chmod(mode)
    (top / "closed/below").mkdir(parents=True)
    (top / "closed").chmod(0)
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    (top / "hard").hardlink_to(top / "777")
    with (top / "sparse").open("wb") as out:
        out.truncate(50 * 2**20 + 3)
    os.symlink("x" * 4095, top / "long")
    os.symlink("sparse", top / "link")
    os.symlink("//a/../b/", top / "odd")
    open(os.fsencode(top) + b"/\xff\xfe\n", "w").close()
    with dumping(images["builder"], tmp_path) as digest:
        assert exported(top) == digest("tree")
    (top / "closed").chmod(0o700)


def test_an_environment_is_one_path_with_its_references(store):
    made = store.ask(
        "cd /tmp; echo one > one; echo two > two; nix-store --add one; nix-store --add two"
    ).split()
    tree = {
        b"a": {
            b"hello": ("file", b"hello\n", 0o644),
            b"bin": {b"run": ("file", b"#!/bin/sh\n", 0o755)},
            b"\xff": ("link", made[0].encode()),
        },
        b"b": ("file", made[1].encode(), 0o644),
    }
    data = MAGIC + as_nar(tree)
    digest = hashlib.sha256(data).digest()
    expected = environment_path(ID, digest, made)
    said = {"path": expected, "sha256": digest.hex(), "size": len(data)}
    assert store.add(data, references=made, names=("b", "a")) == said

    def asked(argv):
        return store.ask(f"{argv} {expected}").split()

    assert sorted(asked("nix-store --query --references")) == sorted(made)
    assert asked("nix-store --query --deriver") == ["unknown-deriver"]
    assert asked("nix-store --query --size") == [str(len(data))]
    assert store.ask(f"nix-store --dump {expected} | sha256sum").split()[0] == digest.hex()
    store.ask(f"nix-store --verify-path {expected}")
    found = set(store.ask(f"find {expected} -printf '%m %y %u\\n'").splitlines())
    assert found == {"444 f store", "555 f store", "555 d store", "777 l store"}
    top = store.nix / "store" / expected.split("/")[3]
    assert top.stat().st_uid == UID
    assert (top / "a/bin/run").stat().st_mode & 0o7777 == 0o555
    assert (top / "a/hello").stat().st_mode & 0o7777 == 0o444
    # again, as after a fault: nothing is wrong and nothing changes
    assert store.add(data, references=made, names=("b", "a")) == said
    assert sorted(store.valid()) == sorted([*made, expected])


def test_the_name_is_the_one_that_nix_gives_it(store, tmp_path):
    """Without references as a source, with them as Nix names what is content-addressed."""
    source = store.ask(
        f"cd /tmp; mkdir -p environment-{ID}/a; echo x > environment-{ID}/a/x; "
        f"nix-store --add-fixed --recursive sha256 environment-{ID}"
    ).strip()
    store.ask(f"nix-store --delete {source}")
    data = one(folder((b"x", file(b"x\n"))))
    assert store.add(data)["path"] == source

    made = store.ask("cd /tmp; echo one > one; echo two > two; nix-store --add one two").split()
    data = MAGIC + folder((b"a", file(" ".join(made).encode())))
    path = store.add(data, references=made)["path"]
    said = json.loads(store.ask(f"nix store make-content-addressed --json {path}"))
    assert said["rewrites"][path] == path


def test_two_environments_hold_different_content_under_one_name(store):
    own = f"{'0' * 32}-tool"
    good = store.add(one(file(b"GOOD"), own.encode()), names=(own,), id_="1" * 64)["path"]
    evil = store.add(one(file(b"EVIL"), own.encode()), names=(own,), id_="2" * 64)["path"]
    assert store.ask(f"cat {good}/{own} {evil}/{own}") == "GOODEVIL"


def test_what_is_refused_does_not_reach_the_store(store):
    for data in (one(file()) + b"x", one(file(bytes(10**5)))):
        assert store.add(data, max_bytes=10**5)["error"] == "NarRefused"
    assert store.valid() == []


def test_a_reference_that_is_not_there_is_our_fault(store):
    said = store.add(one(file()), references=[f"/nix/store/{'0' * 32}-gone"])
    assert said["error"] == "StoreFailed"
    assert store.valid() == []


def test_a_full_disk_is_our_fault_and_leaves_nothing(store):
    said = store.add(one(file(bytes(2 * 10**6))), scratch="/small")
    assert said["error"] == "OSError"
    assert "No space left" in said["words"]
    assert store.valid() == []


NAME = b"n" * 255
#: Each at the bounds of the check, as an entry `a` of the environment.
TAKEN = {
    "levels": nested(62, program()),
    "levels of folders": nested(62, folder()),
    "path": folder((NAME, nested(13, folder((b"x" * 214, file())), NAME))),
    "target": link(b"t" * 4095),
    "odd": folder((b"\n", file()), (b"~nix~case~hack~1", file()), (b"\xff\xfe", link(b"\xff"))),
    "case": folder((b"A", file()), (b"a", file())),
    "empty": file(b""),
}
#: And just beyond them.
NOT_TAKEN = {
    "levels": nested(63),
    "levels-of-folders": nested(63, folder()),
    "target": link(b"t" * 4096),
    "no-target": link(b""),
    "target-with-nul": link(b"x\0y"),
    "name": folder((b"n" * 256, file())),
    "order": folder((b"b", file()), (b"a", file())),
    "path": folder((NAME, nested(15, name=NAME))),
}


def test_nix_takes_whatever_the_check_takes(store):
    # a letter before each: sorted, and no longer than `a` alone
    letters = [chr(ord("a") + number) for number in range(len(TAKEN))]
    data = MAGIC + folder(*zip(map(str.encode, letters), TAKEN.values(), strict=True))
    said = store.add(data, names=letters)
    assert "error" not in said, said
    store.ask(f"nix-store --verify-path {said['path']}")


def test_what_nix_does_not_take_is_refused_before(store):
    """Otherwise what a job sent would look like a fault of ours."""
    (store.nix / "cases").mkdir()
    for case, node in NOT_TAKEN.items():
        data = one(node)
        with pytest.raises(NarRefused):
            check(data)
        path = f"/nix/store/{'0' * 32}-environment-{ID}"
        described = nar.number(0x4558494E) + nar.word(path.encode()) + nar.number(0) + nar.word(b"")
        whole = nar.number(1) + data + described + nar.number(0) + nar.number(0)
        (store.nix / "cases" / case).write_bytes(whole)
    tried = "cd /nix/cases; for case in *; do nix-store --import < $case >&2 && echo $case; done"
    assert store.ask(f"{tried}; true") == ""
