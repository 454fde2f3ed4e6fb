"""An environment: which files make it, what names it, and what a built one is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from pydantic import TypeAdapter

from init.nix import is_shell_file
from streams.content import Content, Frozen
from streams.request import File

SYSTEM: Final = "x86_64-linux"
#: How the message of a build begins that was refused because it left Nix's sandbox.
ATTACK: Final = "ATTACK: "


class Environment(Frozen):
    """A built shell: store paths to mount, and the variables that it sets.

    `path` is the output of the shell's `inputDerivation`, `closure` all that it needs (absolute
    store paths, sorted), `profile` the output of `nix print-dev-env --json`. `size_bytes` is that
    of the whole closure, `paths` a JSON array of `StorePath`, always in the blob store: an event
    of a hit stays small.
    """

    id: str
    path: str
    closure: tuple[str, ...]
    profile: Content
    size_bytes: int | None = None
    paths: Content | None = None


class StorePath(Frozen):
    """One path of a closure: its bytes, and which others it refers to."""

    path: str
    size_bytes: int
    references: tuple[str, ...] = ()


STORE_PATHS: Final[TypeAdapter[tuple[StorePath, ...]]] = TypeAdapter(tuple[StorePath, ...])


def shell_files(files: Iterable[File]) -> tuple[File, ...]:
    """The files of a submission that an evaluation sees, sorted by name."""
    return tuple(sorted((file for file in files if is_shell_file(file.name)), key=lambda f: f.name))


def environment_id(files: Iterable[tuple[str, bytes]], channel: str) -> str:
    """Digest of what the shell may read: 64 hex digits, the same on every host.

    `channel` is the channel's revision. The lengths keep one file's end apart from the next. All
    256 bits count: two shells of one id would run each other's programs. Ids of the first version
    had half of these digits, and logs still have them.
    """
    digest = hashlib.sha256()
    for part in (b"sandstream-environment-2", channel.encode(), SYSTEM.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    for name, content in sorted(files):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
