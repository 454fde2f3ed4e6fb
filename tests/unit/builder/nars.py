"""NARs by hand, right and wrong, and trees of all kinds: made with what set-up has for it."""

# names as a program uses them, some no text
# ruff: noqa: PTH101, PTH102, PTH123, PTH211

from __future__ import annotations

import os

from hypothesis import strategies as st

from builder.nar import NarChecker
from nix.channel.nar import string, strings

MAGIC = string(b"nix-archive-1")


def file(content=b"x"):
    return strings(b"(", b"type", b"regular", b"contents", content, b")")


def program(content=b"x"):
    return strings(b"(", b"type", b"regular", b"executable", b"", b"contents", content, b")")


def link(target=b"t"):
    return strings(b"(", b"type", b"symlink", b"target", target, b")")


def entry(name, node):
    return strings(b"entry", b"(", b"name", name, b"node") + node + string(b")")


def folder(*entries):
    inside = b"".join(entry(name, node) for name, node in entries)
    return strings(b"(", b"type", b"directory") + inside + string(b")")


def nested(levels, lowest=None, name=b"d"):
    """`levels` folders, each in the last, and something in the lowest."""
    node = file() if lowest is None else lowest
    for _ in range(levels):
        node = folder((name, node))
    return node


def one(node, name=b"a"):
    """A whole NAR with this one entry."""
    return MAGIC + folder((name, node))


def check(data, names=("a",), *, max_bytes=10**6, size=None, **limits):
    """Feed a NAR, whole or in parts of `size` bytes. Raises NarRefused."""
    checker = NarChecker(names, max_bytes=max_bytes, **limits)
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        checker.feed(data[start : start + size])
    return checker.end()


NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
FILES = st.tuples(st.just("file"), st.binary(max_size=300), st.sampled_from([0o444, 0o755, 0o2611]))
LINKS = st.tuples(
    st.just("link"), st.binary(min_size=1, max_size=60).filter(lambda target: b"\0" not in target)
)
FOLDERS = st.recursive(
    st.just({}),
    lambda below: st.dictionaries(NAMES, FILES | LINKS | below, max_size=5),
    max_leaves=12,
)


def write(tree, path):
    """Lay such a tree out as the new folder `path`, of bytes."""
    os.mkdir(path)
    for name, what in tree.items():
        below = path + b"/" + name
        match what:
            case dict():
                write(what, below)
            case ("link", target):
                os.symlink(target, below)
            case ("file", content, mode):
                with open(below, "wb") as out:
                    out.write(content)
                os.chmod(below, mode)


def as_nar(tree):
    """The node that such a tree is in a NAR."""
    nodes = []
    for name, what in sorted(tree.items()):
        match what:
            case dict():
                nodes.append((name, as_nar(what)))
            case ("link", target):
                nodes.append((name, link(target)))
            case ("file", content, mode):
                nodes.append((name, (program if mode & 0o100 else file)(content)))
    return folder(*nodes)
