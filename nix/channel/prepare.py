"""Make the channel of a state folder: the offline one, or nixpkgs as it is pinned.

The offline one: resolve, download, write the tree, fill the store, record its derivations. State:
`channel/` is mounted read-only as <nixpkgs>, `nix/` as /nix; `channel-cache/` can go.
"""

from __future__ import annotations

import fcntl
import json
import platform
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nix.channel import apt, bootstrap, nar, nixpkgs, recipe, resolve, trusted
from nix.channel.store import Store
from nix.images.digest import digest, entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nix.pin import Channel, Pin
    from nix.progress import Progress

LANGUAGES = recipe.HERE.parent / "languages"
EXPRESSION = (
    "default.nix",
    "debian.nix",
    "stdenv.nix",
    "python.nix",
    "trivial.nix",
    "unavailable.nix",
)
FOLDERS = ("lib", "build")
STAMP = "channel-cache/inputs"


def inputs(folder: Path = recipe.HERE) -> str:
    """Digest of everything here that decides what the channel is, Debian's versions apart."""
    return digest(entries(folder, sorted(path.name for path in folder.iterdir())))


def revision(state: Path) -> str:
    """Name the channel as it stands: a digest over the whole offline one, or nixpkgs' revision."""
    commit = state / "channel" / nixpkgs.REVISION
    if commit.is_file():
        return f"nixpkgs-{commit.read_text().strip()}"
    return digest(entries(state, ["channel"]))


def made(state: Path) -> Channel | None:
    """Which channel this state folder has; None while it has none."""
    stamp = state / STAMP
    if not stamp.is_file() or not (state / "channel/default.nix").is_file():
        return None
    return "nixpkgs" if stamp.read_text().startswith("nixpkgs ") else "offline"


def write_tree(target: Path, packages: str, source: Path = recipe.HERE) -> None:
    """Write the expression with packages.json beside it, in place of what was there."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in EXPRESSION:
        shutil.copyfile(source / name, fresh / name)
    for name in FOLDERS:
        shutil.copytree(source / name, fresh / name, copy_function=shutil.copyfile)
    hooks = fresh / "packages"
    hooks.mkdir()
    for hook in sorted((source / "packages").glob("*.sh")):
        shutil.copyfile(hook, hooks / hook.name)
    (fresh / "packages.json").write_text(packages)
    nixpkgs.replace(target, fresh)


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """One set-up at a time for each state folder."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / ".channel.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(state: Path, image: str, progress: Progress, pin: Pin | None = None) -> str:
    """Make the channel unless it is there already: nixpkgs at the pin; offline without one.

    Return its revision.
    """
    stamp = state / STAMP
    with alone(state):
        if trusted.drop_older(state, progress):
            stamp.unlink(missing_ok=True)  # real nixpkgs' tree is links into the old store
        wanted = inputs() if pin is None else pin.stamp
        same = stamp.is_file() and stamp.read_text() == wanted
        if not same or not trusted.is_stamped(state) or not (state / "nix/store").is_dir():
            if pin is None:
                make(state, image, progress)
            else:
                nixpkgs.prepare(state, image, pin, progress)
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(wanted)
        made_now = revision(state)
        if not trusted.is_recorded(state, made_now):
            with progress.step("channel: derivations"):
                trusted.record(state, image, made_now, offline=pin is None)
    return made_now


def make(state: Path, image: str, progress: Progress) -> None:
    """Do all of it; each part is quick when an earlier run has done it."""
    cache = state / "channel-cache"
    asked = recipe.read()
    root = apt.Apt((cache / "apt").resolve(), asked.suite)
    with progress.step(f"channel: index of {asked.suite}"):
        root.update()
    with progress.step("channel: closures"):
        root = root.narrowed(asked.debian, (cache / "apt-narrowed").resolve())
        found = resolve.closures(asked, root.closure)
        tools = root.closure(asked.bootstrap)
    everything = {deb for files in found.values() for deb in files}
    with progress.step(f"channel: {len(everything)} packages"):
        remove_others(cache / "debs", {deb.file for deb in everything})
        apt.fetch_all(everything, cache / "debs")
        apt.fetch_all(tools, cache / "tools")
    with progress.step("channel: tree"):
        triplet = resolve.LOADERS[platform.machine()][0]
        tree = bootstrap.make([cache / "tools" / deb.file for deb in tools], triplet, cache)
        written = resolve.document(asked, found, nar.sri(tree))
        write_tree(state / "channel", json.dumps(written, indent=1, sort_keys=True) + "\n")
    with progress.step("channel: store"):
        store = Store(state / "nix", image)
        store.create()
        store.import_files(cache)


def remove_others(folder: Path, wanted: set[str]) -> None:
    """Delete .debs that no package needs any more, so that they are not imported either."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in wanted:
                path.unlink()


def warm(state: Path, image: str, attributes: list[str], progress: Progress) -> list[str]:
    """Build packages now, so that the first submission does not wait for them."""
    with progress.step(f"channel: build {' '.join(attributes)}"):
        return Store(state / "nix", image).build(
            state / "channel", ["<nixpkgs>"], attributes, substitute=made(state) == "nixpkgs"
        )


def warm_languages(state: Path, image: str, progress: Progress) -> list[str]:
    """Build what the ready-made shells need, as a builder would."""
    names = sorted(path.parent.name for path in LANGUAGES.glob("*/shell.nix"))
    with progress.step(f"channel: shells of {' '.join(names)}"):
        return Store(state / "nix", image).build(
            state / "channel",
            [f"/languages/{name}/shell.nix" for name in names],
            ["inputDerivation"],
            f"{LANGUAGES}:/languages:ro",
            substitute=made(state) == "nixpkgs",
        )
