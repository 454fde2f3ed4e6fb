"""What the stages of a container see of the store: the same files, and inodes of their own.

Store paths are one set of inodes for all who run on a host, and an inode carries more than its
bytes. Whoever watches it (inotify, dnotify) hears each time that another opens it; a lock on it is
a word to everybody; `preadv2(RWF_NOWAIT)` says what others have read, `statfs` what they write. An
overlay without a writable layer has inodes of its own over the same pages. Watches and locks end
at it, RWF_NOWAIT is EOPNOTSUPP, and `statfs` is that of an empty folder.

An overlay shows folders of one name in several layers as one. What an environment has at a name is
all there is at it: the store's own path of that name is hidden below.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH102, PTH208

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from init import namespaces

if TYPE_CHECKING:
    from init.box import Box

_STORE: Final = "/nix/store"


def mount(box: Box, environment: str = "") -> None:
    """Cover the store with a view of it, for the stages that come.

    What the environment's own build made, the entries of the store path `environment`, is seen at
    its own names. It is an overlay by itself first: the kernel refuses layers of one file system
    that lie one in the other (ELOOP).
    """
    for folder in (_nothing(box), _own(box), _mask(box)):
        os.mkdir(folder, 0o755)
    if environment:
        for name in os.listdir(environment):
            # what an overlay takes for "not there"; anybody may make one
            os.mknod(f"{_mask(box)}/{name}", stat.S_IFCHR)
        layers = f"lowerdir={environment}:{_nothing(box)},userxattr"
        namespaces.mount("overlay", _own(box), layers)
    _cover(box)


def renew(box: Box) -> None:
    """Give this process, a fork that `mount` was called before, a view that no other one has."""
    namespaces.leave_mounts()
    namespaces.unmount(_STORE)
    _cover(box)


def _cover(box: Box) -> None:
    # the uppermost layer answers statfs; and without a writable one there have to be two
    layers = f"{_nothing(box)}:{_own(box)}:{_mask(box)}:{_STORE}"
    namespaces.mount("overlay", _STORE, f"lowerdir={layers},userxattr")


def _nothing(box: Box) -> str:
    return f"{box.root}/nothing"


def _own(box: Box) -> str:
    return f"{box.root}/own"


def _mask(box: Box) -> str:
    return f"{box.root}/mask"
