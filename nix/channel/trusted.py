"""What a store trusts: derivations of the offline channel, and nothing that an older version made.

Membership is decided by .drv path alone. `nix/var/sandstream/trusted/derivations` names the .drv
of every derivation in the build closures of the channel; its first line names the channel.
Builders build these, in the shared store, from the .drv files that set-up wrote.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from init import folders, storestamp
from nix.channel.store import STORE_UID, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nix.progress import Progress

DERIVATIONS = f"{storestamp.FOLDER}/derivations"
OLD = ".old-"
#: Held by `make up` and by a worker host's processes; by every job of a builder.
LOCKS = ("lock", "nix/var/sandstream/in-use")


@dataclass  # not frozen: contextlib sets __traceback__
class StateInUseError(Exception):
    """An older system still runs on the state folder whose store is to be dropped."""

    state: Path

    def __str__(self) -> str:
        return (
            f"{self.state} was filled by an older version and has to be filled anew, but a system"
            " runs on it: stop that, then run `make setup` again"
        )


def is_stamped(state: Path) -> bool:
    """Whether the store of this state folder is one of this version."""
    return storestamp.is_stamped(str(state / "nix"))


def drop_older(state: Path, progress: Progress) -> bool:
    """Drop store, binary cache and signing keys unless the store is stamped; whether it did.

    The folders stay, as they may be mount points or links to another disk. The stamp comes with
    the new store, so a set-up that is cut short drops the rest at its next run. Raises
    StateInUseError.
    """
    if is_stamped(state):
        return False
    whole = [state / "nix", state / "cache"]
    keys = sorted(state.glob("*/cache-key.*"))
    if not keys and not any(entries(folder) for folder in whole):
        return False
    refuse_in_use(state)
    with progress.step("channel: drop store, cache and keys of an older version"):
        for key in keys:
            key.unlink(missing_ok=True)
        # the store last: while it stands, the next run knows that there is something to drop
        for folder in reversed(whole):
            put_aside(folder)
        for folder in whole:
            for tree in entries(folder):
                if tree.name.startswith(OLD):
                    remove(tree, progress)
    return True


def entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def put_aside(folder: Path) -> None:
    """Move everything in a folder into one folder there, which nothing else looks into."""
    found = [path for path in entries(folder) if not path.name.startswith(OLD)]
    if found:
        aside = folder / f"{OLD}{secrets.token_hex(8)}"
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)


def remove(tree: Path, progress: Progress) -> None:
    """Remove a tree that untrusted programs wrote; what can't be is named, and hinders nothing."""
    try:
        folders.remove(str(tree))
    except OSError as error:
        progress.out.write(f"channel: {tree} can't be removed, do it by hand: {error}\n")


def refuse_in_use(state: Path) -> None:
    """Raise StateInUseError while a system runs on the folder."""
    for name in LOCKS:
        with suppress(FileNotFoundError):
            file = os.open(state / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateInUseError(state) from None
            finally:
                os.close(file)


def header(revision: str) -> str:
    """First line of the file."""
    return f"# channel {revision}"


def is_recorded(state: Path, revision: str) -> bool:
    """Whether the file is there, and is of this channel."""
    try:
        with (state / "nix" / DERIVATIONS).open() as file:
            return file.readline() == f"{header(revision)}\n"
    except FileNotFoundError:
        return False


def record(state: Path, image: str, revision: str, *, offline: bool) -> None:
    """Write the file. Of real nixpkgs no derivation is trusted: what is, a cache has signed."""
    store = Store(state / "nix", image)
    derivations = store.instantiate(state / "channel") if offline else []
    text = "".join(f"{line}\n" for line in lines(revision, derivations))
    storestamp.write(str(state / "nix" / DERIVATIONS), text, STORE_UID)


def lines(revision: str, derivations: Iterable[str]) -> Iterator[str]:
    """Content of the file."""
    yield header(revision)
    yield from sorted(set(derivations))
