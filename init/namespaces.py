"""A user and mount namespace of init's own, so that it can mount without any privilege outside.

The container's uid maps to itself: to the host init stays the same unprivileged user, and its
capabilities reach nothing but mounts that it made. Programs that it executes have none of them,
as its uid is not 0.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import os
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_REMOUNT: Final = 32
MNT_DETACH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter() -> None:
    """Move this process, which must have one thread only, into namespaces of its own."""
    uid, gid = os.getuid(), os.getgid()
    _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, line in (
        ("setgroups", "deny"),  # the kernel's condition for an unprivileged gid_map
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def mount(
    kind: str, target: str, options: str, *, source: str = "none", remount: bool = False
) -> None:
    """Mount a file system, never with set-user-id or device files."""
    flags = MS_NOSUID | MS_NODEV | (MS_REMOUNT if remount else 0)
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _checked(result, f"mount {kind} at {target}")


def unmount(target: str) -> None:
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")
