"""The tools that derivations are built with, before there is any derivation: one small folder.

busybox is static; patchelf and xz are started through the loader that lies beside them
(`lib/ld-linux… --library-path lib bin/patchelf`), so that nothing has to be patched first.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nix.channel.recipe import BOOTSTRAP
from nix.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable

# As links, because a shell built for Nix's sandbox finds applets by PATH alone.
APPLETS = [
    "[",
    "ar",
    "awk",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "nproc",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "sh",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "test",
    "touch",
    "tr",
    "true",
    "uniq",
    "wc",
    "xargs",
]
PROGRAMS = ("usr/bin/patchelf", "usr/bin/xz")


def make(debs: Iterable[Path], triplet: str, target: Path) -> Path:
    """Lay out `bin/` and `lib/` in `target`/debian-bootstrap out of .debs, and return that."""
    tree = target / BOOTSTRAP
    if tree.exists():
        shutil.rmtree(tree)
    with tempfile.TemporaryDirectory() as name:
        unpacked = Path(name)
        for deb in debs:
            run(["dpkg-deb", "--extract", str(deb), str(unpacked)])
        (tree / "bin").mkdir(parents=True)
        (tree / "lib").mkdir()
        (busybox,) = (
            p for p in unpacked.rglob("busybox") if p.is_file() and p.parent.name == "bin"
        )
        for source in (busybox, *(unpacked / program for program in PROGRAMS)):
            shutil.copyfile(source.resolve(), tree / "bin" / source.name)
        for library in (unpacked / "usr/lib" / triplet).glob("*.so*"):
            shutil.copyfile(library.resolve(), tree / "lib" / library.name)
    for path in (*(tree / "bin").iterdir(), *(tree / "lib").iterdir()):
        path.chmod(0o555)
    for applet in APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    return tree
