"""What the channel offers, read from `debian.toml` and from one small file for each package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = "debian-libraries"
BOOTSTRAP = "debian-bootstrap"


@dataclass(frozen=True)
class Package:
    """A Nix attribute and the Debian packages whose files are its output."""

    name: str
    debian: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)  # path in the output -> target
    hook: str | None = None  # shell script in packages/, run when all is unpacked and patched
    needs: tuple[str, ...] = ()  # other attributes that the hook names
    shares: tuple[str, ...] = ()  # as needs, and their files are used instead of unpacked again


@dataclass(frozen=True)
class Recipe:
    """The whole channel before any version is known."""

    suite: str
    exclude: frozenset[str]
    libraries: tuple[str, ...]
    bootstrap: tuple[str, ...]
    packages: tuple[Package, ...]

    @property
    def debian(self) -> list[str]:
        """Every Debian package that is named anywhere."""
        named = {name for package in self.packages for name in package.debian}
        return sorted(named.union(self.libraries, self.bootstrap))


def group_hook(path: Path) -> Path:
    """Give the hook that `python3Packages.numpy` shares with its like: `python3Packages.sh`."""
    return path.with_name(path.name.split(".")[0] + ".sh")


def package(path: Path) -> Package:
    """Read `packages/<attribute>.toml`; a script of the same name beside it is its hook."""
    data = tomllib.loads(path.read_text())
    unknown = data.keys() - {"debian", "aliases", "links", "needs", "shares"}
    if unknown:
        message = f"{path}: unknown {', '.join(sorted(unknown))}"
        raise ValueError(message)
    name = path.name.removesuffix(".toml")
    hook = next((p for p in (path.with_suffix(".sh"), group_hook(path)) if p.is_file()), None)
    return Package(
        name=name,
        debian=tuple(data["debian"]),
        aliases=tuple(data.get("aliases", ())),
        links=dict(data.get("links", {})),
        hook=hook.name if hook else None,
        needs=tuple(data.get("needs", ())),
        shares=tuple(data.get("shares", ())),
    )


def read(folder: Path = HERE) -> Recipe:
    """Read the recipe of this repository."""
    data = tomllib.loads((folder / "debian.toml").read_text())
    return Recipe(
        suite=data["suite"],
        exclude=frozenset(data["exclude"]),
        libraries=tuple(data["libraries"]),
        bootstrap=tuple(data["bootstrap"]),
        packages=tuple(package(path) for path in sorted(folder.glob("packages/*.toml"))),
    )
