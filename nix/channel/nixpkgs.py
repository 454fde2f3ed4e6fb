"""Real nixpkgs as the channel: fetched by Nix, so that its hash is checked, then linked.

`STATE/channel` is a tree of hard links into the store, because evaluators see no store path that
they were not given, and this tree as `/channel`. Its `.git-revision` is the file in which nixpkgs
itself looks for its revision.

Untested where this was written, as neither GitHub nor a Nix cache can be reached there: the
download of the pinned revision itself, packages of the public cache, and so every shell on real
nixpkgs. Tested with a small tarball from a server on this machine: all the rest of this file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nix.channel.store import Store
from nix.pin import Pin, fetch_expression
from nix.progress import Progress

REVISION = ".git-revision"


def prepare(state: Path, image: str, pin: Pin, progress: Progress) -> None:
    """Fetch the tree into the store, keep it from the collector, and make it the channel."""
    store = Store(state / "nix", image)
    store.create()
    with progress.step(f"channel: nixpkgs {pin.revision[:12]}"):
        path = store.fetch(fetch_expression(pin))
    with progress.step("channel: tree"):
        link_tree(store.on_host(path), state / "channel", pin.revision)


def link_tree(source: Path, target: Path, revision: str) -> None:
    """Put the tree in place of what was there; the folder itself stays, it may be mounted."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, symlinks=True, copy_function=link)
    # A store's folders are read-only, and copytree has made ours the same.
    for folder, _, _ in os.walk(fresh):
        Path(folder).chmod(0o755)
    (fresh / REVISION).write_text(revision)
    replace(target, fresh)


def link(source: str, target: str) -> None:
    """Make a hard link, or a copy where the two are on different file systems."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)


def replace(target: Path, fresh: Path) -> None:
    """Move everything in `fresh` to `target`, which has nothing else then."""
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for new in fresh.iterdir():
        new.rename(target / new.name)
    fresh.rmdir()
