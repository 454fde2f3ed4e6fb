"""Nix's archive format, as far as a fixed output of a folder needs it.

Source: Dolstra, "The Purely Functional Software Deployment Model", figure 5.2.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def string(value: bytes) -> bytes:
    """Length as 64 bits little-endian, the bytes, zeros up to a multiple of 8."""
    return len(value).to_bytes(8, "little") + value + bytes(-len(value) % 8)


def strings(*values: bytes) -> bytes:
    """Concatenate several strings."""
    return b"".join(string(value) for value in values)


def node(path: Path) -> Iterator[bytes]:
    """Give one file, link or folder, and all below it."""
    mode = path.lstat().st_mode
    yield strings(b"(", b"type")
    if stat.S_ISLNK(mode):
        yield strings(b"symlink", b"target", os.fsencode(path.readlink()))
    elif stat.S_ISDIR(mode):
        yield string(b"directory")
        for name in sorted(os.fsencode(child.name) for child in path.iterdir()):
            yield strings(b"entry", b"(", b"name", name, b"node")
            yield from node(path / os.fsdecode(name))
            yield string(b")")
    else:
        executable = (b"executable", b"") if mode & stat.S_IXUSR else ()
        yield strings(b"regular", *executable, b"contents")
        yield string(path.read_bytes())
    yield string(b")")


def dump(path: Path) -> Iterator[bytes]:
    """Give the archive in pieces."""
    yield string(b"nix-archive-1")
    yield from node(path)


def sri(path: Path) -> str:
    """Hash of the archive in the form that `outputHash` takes."""
    state = hashlib.sha256()
    for piece in dump(path):
        state.update(piece)
    return "sha256-" + base64.b64encode(state.digest()).decode()
