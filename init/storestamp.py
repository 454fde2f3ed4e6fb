"""The stamp of a Nix store that only this version and newer ones have written to.

Before version 2 a user's build ran as the store's owner and could rewrite any path, bash itself
included; then the builder's key signed what it found there. So nothing that lies in a store
without the stamp is trusted, and nothing that such a builder has signed. Set-up, builders,
storekeepers and the command line check it with these few lines.
"""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH103, PTH105, PTH108, PTH123

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

VERSION: Final = "2"
#: Below the store's folder, which is mounted as /nix.
FOLDER: Final = "var/sandstream/trusted"
_FILE: Final = f"{FOLDER}/version"


def is_stamped(store: str) -> bool:
    """Whether this version trusts what lies in the store."""
    try:
        with open(f"{store}/{_FILE}", encoding="ascii", errors="replace") as file:
            return file.read(16).strip() == VERSION
    except (FileNotFoundError, NotADirectoryError):
        return False


def stamp(store: str, owner: int | None = None) -> None:
    """Stamp a store that is new and empty. Raises OSError.

    `owner` is the uid that the file and its folder get; by default it is the caller's.
    """
    folder = f"{store}/{FOLDER}"
    os.makedirs(folder, exist_ok=True)
    if owner is not None:
        for each in (os.path.dirname(folder), folder):  # noqa: PTH120
            os.chown(each, owner, owner, follow_symlinks=False)
    write(f"{store}/{_FILE}", f"{VERSION}\n", owner)


def write(path: str, text: str, owner: int | None = None) -> None:
    """Write a file of mode 0644 whole or not at all, a power cut included. Raises OSError."""
    fresh = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # of a life that was cut short
    # the folder is the store owner's: no link of its is followed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(fresh, flags, 0o644)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        os.fchmod(file, 0o644)
        if owner is not None:
            os.fchown(file, owner, owner)
        out.write(text)
        out.flush()
        os.fsync(file)
    os.replace(fresh, path)
