"""A disk of its own for a store: a file system on a loop device, whose power can be cut."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """The file system in `image`, made ready again as after a power cut: its journal is played."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def new(image: Path, megabytes: int) -> Path:
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(image))
    return image


def power_cut(image: Path, copy: Path) -> Path:
    """The disk as it is at this moment: what waits in the file system's cache is not on it."""
    _run("cp", "--sparse=always", str(image), str(copy))
    return copy


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
