"""Which derivations are the channel's own: set-up has recorded the .drv path of each.

A path that one of these makes is shared by all environments. Whatever else a user's evaluation
names belongs to that environment, its output path and its builder notwithstanding.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

from builder.errors import BuilderError
from init import storestamp
from init.nix import is_store_path

#: Below the folder of the store; `nix/channel/trusted.py` writes it.
FILE: Final = f"{storestamp.FOLDER}/derivations"
_HEADER: Final = "# channel "
_LETTERS: Final = 200


class NotRecorded(BuilderError):
    """No usable list of the channel's derivations lies in the store."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}: run `make setup`, then start the builder again")
        self.file = file
        self.why = why


def recorded(store: Path, channel_revision: str) -> frozenset[str]:
    """The .drv paths of the channel's derivations; none on real nixpkgs. Raises NotRecorded."""
    file = store / FILE
    if not storestamp.is_stamped(str(store)):
        raise NotRecorded(file, "does not count, as an older version filled this store")
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotRecorded(file, f"can't be read ({error})") from error
    if not text.endswith("\n"):
        raise NotRecorded(file, "is cut short")
    header, *paths = text.removesuffix("\n").split("\n")
    if header != f"{_HEADER}{channel_revision}":
        here = header.removeprefix(_HEADER)[:_LETTERS]
        raise NotRecorded(file, f"is of channel {here!r}, {channel_revision!r} is mounted")
    for number, path in enumerate(paths, 2):
        if not path.endswith(".drv") or not is_store_path(path):
            raise NotRecorded(file, f"line {number}: {path[:_LETTERS]!r} is no derivation's path")
    if any(one >= other for one, other in pairwise(paths)):
        raise NotRecorded(file, "is not sorted, or names a path twice")
    return frozenset(paths)
