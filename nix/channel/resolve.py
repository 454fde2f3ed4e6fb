"""From names of packages to exact files: what `packages.json` says."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nix.channel.apt import Deb
from nix.channel.recipe import LIBRARIES, Recipe

Closure = Callable[[Iterable[str]], list[Deb]]
Closures = Mapping[str, list[Deb]]

# machine -> (Debian's triplet, glibc's loader)
LOADERS = {
    "x86_64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "aarch64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}


def closures(recipe: Recipe, closure: Closure) -> dict[str, list[Deb]]:
    """Files of every attribute: its Debian closure less the shared libraries and the excluded.

    What a package lists by name it keeps, even where it is excluded for all others.
    """
    libraries = [deb for deb in closure(recipe.libraries) if deb.package not in recipe.exclude]
    shared = {deb.package for deb in libraries}
    with ThreadPoolExecutor() as pool:  # apt is a process for each: 0.3 s
        wholes = pool.map(closure, [package.debian for package in recipe.packages])
        whole = {p.name: files for p, files in zip(recipe.packages, wholes, strict=True)}
    result = {LIBRARIES: libraries}
    for package in recipe.packages:
        elsewhere = {deb.package for name in package.shares for deb in whole[name]}
        left_out = (recipe.exclude | shared | elsewhere) - set(package.debian)
        result[package.name] = [d for d in whole[package.name] if d.package not in left_out]
    return result


def document(recipe: Recipe, found: Closures, bootstrap_hash: str) -> dict[str, Any]:
    """Give the content of packages.json: no time, no host, no order that could differ."""
    machine = platform.machine()
    triplet, loader = LOADERS[machine]
    debs = {deb for files in found.values() for deb in files}
    return {
        "system": f"{machine}-linux",
        "suite": recipe.suite,
        "triplet": triplet,
        "loader": loader,
        "bootstrap": bootstrap_hash,
        "debs": {deb.file: deb.sha256 for deb in sorted(debs)},
        "libraries": [deb.file for deb in found[LIBRARIES]],
        "packages": {
            package.name: {
                "debs": [deb.file for deb in found[package.name]],
                "version": version(package.debian[0], found[package.name]),
                "aliases": list(package.aliases),
                "links": dict(sorted(package.links.items())),
                "hook": package.hook,
                "needs": list(package.needs),
                "shares": list(package.shares),
            }
            for package in recipe.packages
        },
    }


def version(debian: str, files: Iterable[Deb]) -> str:
    """Debian's version of the package that an attribute names first."""
    found = (deb.file.split("_")[1] for deb in files if deb.package == debian)
    return next(found, "0")
