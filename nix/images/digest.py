"""A digest over files and words: the same inputs, the same image name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
LENGTH = 16  # hex digits in a tag


def sources(folder: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order, without what tools leave behind."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not SKIPPED.intersection(path.relative_to(folder).parts):
            yield path


def entries(root: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """(name below root, path) of every named file and of every file below a named folder.

    A name that does not exist has no entries: the folder may not be written yet. Nor has one
    that a tool leaves behind, though whoever lists a folder may name it.
    """
    for name in names:
        if name in SKIPPED:
            continue
        path = root / name
        if path.is_file():
            yield name, path
        elif path.is_dir():
            for file in sources(path):
                yield file.relative_to(root).as_posix(), file


def digest(files: Iterable[tuple[str, Path]], words: Iterable[str] = ()) -> str:
    """Digest names, contents and words; lengths are framed so that no two inputs run together."""
    state = hashlib.sha256()
    for name, path in files:
        content = path.read_bytes()
        state.update(f"{len(name)}:{name}{len(content)}:".encode())
        state.update(content)
    for word in words:
        state.update(f"={len(word)}:{word}".encode())
    return state.hexdigest()[:LENGTH]
