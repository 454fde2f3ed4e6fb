"""Which channel is <nixpkgs>: the offline one, or real nixpkgs at the revision in nixpkgs.json.

`SANDSTREAM_CHANNEL` says which: `offline`, `nixpkgs`, or `auto` (the default): nixpkgs where its
binary cache answers. A state folder keeps the channel that it was made with until the setting
names another one, as a change of channel makes every environment anew.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

PUBLIC_CACHE = "https://cache.nixos.org"
PUBLIC_KEY = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
PIN = Path(__file__).with_name("nixpkgs.json")
VARIABLE = "SANDSTREAM_CHANNEL"

Channel = Literal["offline", "nixpkgs"]
Setting = Literal["auto", "offline", "nixpkgs"]


class NoPinError(Exception):
    """Nixpkgs was asked for, and nixpkgs.json names no revision."""

    def __str__(self) -> str:
        return f"{VARIABLE} is nixpkgs, but {PIN} names no revision"


@dataclass  # not frozen: contextlib sets __traceback__
class UnknownChannelError(Exception):
    """The setting has none of its values."""

    given: str

    def __str__(self) -> str:
        return f"{VARIABLE} is {self.given!r}: it must be one of {', '.join(get_args(Setting))}"


@dataclass(frozen=True)
class Pin:
    """One revision of nixpkgs: a tarball, and the hash of its unpacked content as Nix writes it."""

    revision: str
    url: str
    sha256: str

    @property
    def stamp(self) -> str:
        """What a state folder remembers of it."""
        return f"nixpkgs {self.revision} {self.sha256}"


def read(path: Path = PIN) -> Pin | None:
    """Give the pinned revision, None while there is none."""
    data = json.loads(path.read_text())
    if not data["revision"]:
        return None
    return Pin(data["revision"], data["url"], data["sha256"])


def reachable(cache: str = PUBLIC_CACHE, *, timeout_seconds: float = 2.0) -> bool:
    """Whether a Nix binary cache answers there with its nix-cache-info, all within the time.

    In a thread that is left behind, because a name that nobody resolves can take longer than any
    timeout of the connection.
    """
    found: list[bytes] = []

    def ask() -> None:
        try:
            url = f"{cache.rstrip('/')}/nix-cache-info"
            with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:  # noqa: S310
                found.append(answer.read(4096))
        except (OSError, ValueError):  # URLError is an OSError
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    return b"StoreDir:" in b"".join(found)


def setting(environment: Mapping[str, str]) -> Setting:
    """Read what the operator wants. Raises UnknownChannelError."""
    given = environment.get(VARIABLE) or "auto"
    if given not in get_args(Setting):
        raise UnknownChannelError(given)
    return cast(Setting, given)


def choose_channel(setting: Setting, reachable: bool, *, pinned: bool = True) -> Channel:  # noqa: FBT001
    """Decide from the setting, whether a cache answers, and whether nixpkgs.json has a revision."""
    match setting:
        case "offline":
            return "offline"
        case "nixpkgs":
            if not pinned:
                raise NoPinError
            return "nixpkgs"
        case "auto":
            return "nixpkgs" if reachable and pinned else "offline"


def fetch_expression(pin: Pin) -> str:
    """Give the Nix expression of the unpacked tree's store path; Nix checks the hash.

    Nothing is fetched where the store has the path already.
    """
    return f'"${{fetchTarball {{ url = "{pin.url}"; sha256 = "{pin.sha256}"; }}}}"'
