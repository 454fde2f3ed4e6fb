"""A user and mount namespace of init's own, so that it can mount without any privilege outside.

The container's uid maps to itself: to the host init stays the same unprivileged user, and its
capabilities reach nothing but mounts that it made. Programs that it executes have none of them,
as its uid is not 0.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_REMOUNT: Final = 32
MNT_DETACH: Final = 2
_DEEPER_THAN_ANY: Final = 255

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(flags: int = CLONE_NEWUSER | CLONE_NEWNS) -> None:
    """Move this process, which must have one thread only, into namespaces of its own."""
    uid, gid = os.getuid(), os.getgid()
    _checked(_libc.unshare(flags), "unshare")
    for name, line in (
        ("setgroups", "deny"),  # the kernel's condition for an unprivileged gid_map
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def descend(left: int) -> None:
    """Enter user namespaces, one in the other, until only `left` more can be had below the last.

    The kernel nests 33, and no process ever comes back up. So this process can't have more either,
    whatever it executes. Raises OSError where the host allows too few of them to be sure.
    """
    for _ in range(_room() - left):
        enter(CLONE_NEWUSER)


def _room() -> int:
    """How many user namespaces can be nested below this one's; a child of ours tries it.

    ENOSPC is the answer to one too many, and to one too deep. So while the child holds all of its
    own, another makes one more beside them: only if it can, the depth was the reason.
    """
    told, held = os.pipe(), os.pipe()
    scout = _forked(lambda: _nest(told[1], held))
    os.close(told[1])
    os.close(held[0])
    count = os.read(told[0], 1)
    another = _forked(lambda: enter(CLONE_NEWUSER))
    failed = os.waitpid(another, 0)[1] != 0
    os.close(held[1])
    os.close(told[0])
    os.waitpid(scout, 0)
    if failed or not count:
        raise OSError(errno.ENOSPC, "the host allows too few user namespaces to nest them")
    return count[0]


def _nest(told: int, held: tuple[int, int]) -> None:
    os.close(held[1])
    count = 0
    try:
        while count < _DEEPER_THAN_ANY:
            enter(CLONE_NEWUSER)
            count += 1
    except OSError as error:
        if error.errno == errno.ENOSPC:
            os.write(told, bytes((count,)))
            os.read(held[0], 1)


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def leave_mounts() -> None:
    """Move this process into a mount namespace of its own: no other sees what it mounts now."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")


def mount(
    kind: str, target: str, options: str, *, source: str = "none", remount: bool = False
) -> None:
    """Mount a file system, never with set-user-id or device files."""
    flags = MS_NOSUID | MS_NODEV | (MS_REMOUNT if remount else 0)
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _checked(result, f"mount {kind} at {target}")


def unmount(target: str) -> None:
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")
