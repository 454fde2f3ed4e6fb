"""Disk images made from folders, kept by a digest of what they are made of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.v2.run import run, step

MIB = 1 << 20
#: An image has room for this much more than its folder holds: inodes and directories.
_SLACK_MIB = 64


def format_argv(folder: Path, disk: Path, *, label: str, size_mib: int) -> list[str]:
    """An ext4 file system with the folder's content, its owners and modes; needs no mount."""
    return [
        "/sbin/mke2fs",
        "-q",
        "-F",
        "-t", "ext4",
        # nothing of it outlives a run: what is written goes to QEMU's own overlay
        "-O", "^has_journal",
        "-m", "0",
        "-L", label,
        "-d", str(folder),
        str(disk),
        f"{size_mib}M",
    ]  # fmt: skip


def content_mib(folder: Path) -> int:
    """What the folder's files take on a disk."""
    return int(run(["du", "-sm", folder]).split()[0])


def write(folder: Path, disk: Path, *, label: str, size_mib: int | None = None) -> None:
    """Make a disk image of the folder."""
    size = size_mib or content_mib(folder) * 6 // 5 + _SLACK_MIB
    run(format_argv(folder, disk, label=label, size_mib=size))


def kept(
    state: Path, label: str, key: str, fill: Callable[[Path], None], *, size_mib: int | None = None
) -> Path:
    """The image `<label>-<key>.ext4`; `fill` is called with an empty folder when it is missing.

    An older one of the same label is removed: its inputs are gone.
    """
    disk = state / f"{label}-{key}.ext4"
    if disk.exists():
        disk.touch()
        return disk
    with step(f"make the disk `{label}`"), tempfile.TemporaryDirectory(dir=state) as name:
        folder = Path(name) / "content"
        folder.mkdir(mode=0o755)
        fill(folder)
        made = Path(name) / "made"
        write(folder, made, label=label, size_mib=size_mib)
        shutil.rmtree(folder)
        for old in state.glob(f"{label}-*.ext4"):
            old.unlink()
        made.rename(disk)
    return disk
