"""The names of a submission's files: each alone, and all together. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from init.tree import MAX_DEPTH
from streams.request import RUN, SHELL

#: Of the whole name and of each part, in bytes of UTF-8; 255 is the file system's own.
NAME_BYTES: Final = 512
PART_BYTES: Final = 255

_SHELL_REMEDY: Final = (
    f"{SHELL} is missing: add a file of that name that holds a Nix shell, for example "
    "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ]; }"
)
_RUN_REMEDY: Final = (
    f"{RUN} is missing: add a file of that name that holds the command to run, "
    "for example python3 main.py"
)


def fault_of(name: str) -> str | None:  # noqa: PLR0911 - one for each fault
    """Why a file can't have this name, and what to write instead; None when it can."""
    if not name:
        return "is empty: give the file a name, for example main.py"
    if len(name.encode()) > NAME_BYTES:  # before anything looks at each letter
        return f"is {len(name.encode())} bytes long: the most is {NAME_BYTES}"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "holds a control character: use letters that can be seen"
    if "\\" in name:
        return "holds a backslash: separate folders by /"
    if name.startswith("/"):
        return "is absolute: write it relative to the work folder, without the leading /"
    parts = name.split("/")
    if ".." in parts:
        return "leaves the work folder: write it without .."
    if "." in parts or "" in parts:
        return "has an empty part or a lone dot: write it plainly, for example src/main.c"
    if len(parts) > MAX_DEPTH:
        return f"has {len(parts)} parts: the most is {MAX_DEPTH}"
    longest = max(len(part.encode()) for part in parts)
    if longest > PART_BYTES:
        return f"has a part of {longest} bytes: the most is {PART_BYTES}"
    return None


def faults_together(
    names: Sequence[tuple[int, str]], *, runs: bool
) -> Iterator[tuple[int | None, str]]:
    """What is wrong with the names as a whole: (index of the file or None for the list, why).

    `runs`: whether there must be something to run.
    """
    first: dict[str, int] = {}
    for index, name in names:
        if name in first:
            yield index, f"{name!r} is the name of file {first[name]} too: keep one of them"
        else:
            first[name] = index
    for index, name in names:
        parts = name.split("/")
        for length in range(1, len(parts)):
            folder = "/".join(parts[:length])
            if folder in first:
                yield (
                    index,
                    (
                        f"{name!r} needs a folder {folder!r}, but file {first[folder]} "
                        "has that name: rename one of them"
                    ),
                )
                break
    if SHELL not in first:
        yield None, _SHELL_REMEDY
    if runs and RUN not in first:
        yield None, _RUN_REMEDY
