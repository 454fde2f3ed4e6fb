"""The store on this host: only a container's Nix writes to it, as one unprivileged user."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from init import storestamp
from nix.docker import Container
from nix.pin import PUBLIC_CACHE, PUBLIC_KEY

STORE_UID = 30000

# While this is held no builder of the store sweeps what builds have left (it would take the roots
# of ours), and nobody collects garbage (which Nix itself asks this lock for).
HELD = """
(umask 077; : >> /nix/var/nix/gc.lock)
exec 9< /nix/var/nix/gc.lock
flock --shared 9
"""

# add-fixed gives the very path that the expression's fixed-output derivation has: it is valid
# then, so its builder never runs. Roots keep it from the garbage collector.
IMPORT = """
cd /import
keep() { ln -sfn "$1" "/nix/var/nix/gcroots/channel/${1##*/}"; }
rm -rf /nix/var/nix/gcroots/channel && mkdir -p /nix/var/nix/gcroots/channel
nix-store --add-fixed sha256 debs/*.deb > /tmp/added
while read -r path; do keep "$path"; done < /tmp/added
nix-store --add-fixed --recursive sha256 debian-bootstrap > /tmp/tools
keep "$(cat /tmp/tools)"
"""

# One expression: it fetches, and its value is the path.
FETCH = """
nix-instantiate --eval --json --expr "$1" > /tmp/fetched
path="$(tr -d '"' < /tmp/fetched)"
rm -rf /nix/var/nix/gcroots/channel && mkdir -p /nix/var/nix/gcroots/channel
ln -s "$path" /nix/var/nix/gcroots/channel/
cat /tmp/fetched
"""

BUILD = """
mkdir -p /nix/var/nix/gcroots/channel-warm
nix-build --no-out-link "$@" > /tmp/built
cd /nix/var/nix/gcroots/channel-warm
while read -r path; do ln -sfn "$path" "${path##*/}"; done < /tmp/built
cat /tmp/built
"""

# Every derivation that the channel offers. No name that it lacks ends this: those throw.
EVERY_DERIVATION = """
let
  pkgs = import <nixpkgs> { };
  derivations = set: builtins.concatMap
    (name:
      let
        found = builtins.tryEval (
          let value = set.${name}; in
          if (value.type or null) == "derivation" then builtins.seq value.drvPath [ value ] else [ ]
        );
      in
      if found.success then found.value else [ ])
    (builtins.attrNames set);
in
derivations pkgs ++ derivations pkgs.python3Packages
"""

# The .drv files of all that building these needs. Roots of the top ones keep the rest as well.
INSTANTIATE = """
nix-instantiate --expr "$1" > /tmp/instantiated
sed 's/!.*//' /tmp/instantiated | sort -u > /tmp/tops
roots=/nix/var/nix/gcroots/channel-derivations
rm -rf "$roots" && mkdir -p "$roots"
while read -r path; do ln -s "$path" "$roots/"; done < /tmp/tops
xargs nix-store --query --requisites < /tmp/tops > /tmp/closures
grep '[.]drv$' /tmp/closures
"""

# What a machine needs to reach anything, where it needs it at all.
PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Store:
    """`folder` is mounted as /nix."""

    folder: Path
    image: str

    def create(self) -> None:
        """Make the folders and give them to the store's user; stamp the store if it is new."""
        parts = ("", "store", "var", "var/nix", "var/nix/gcroots", "var/nix/gcroots/channel")
        missing = [self.folder / part for part in parts if not (self.folder / part).is_dir()]
        for path in missing:
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, STORE_UID, STORE_UID)
        if self.folder / "store" in missing:
            storestamp.stamp(str(self.folder), STORE_UID)

    def container(
        self, *volumes: str, nix_builds: bool = False, network: bool = False, config: str = ""
    ) -> Container:
        """Give a container with this store, and with nothing else of the host than `volumes`."""
        env = {"NIX_REMOTE": ""}
        if network:
            env |= {name: os.environ[name] for name in PROXY if name in os.environ}
        if config:
            env["NIX_CONFIG"] = config
        return Container(
            self.image,
            STORE_UID,
            (f"{self.folder.resolve()}:/nix", *volumes),
            env,
            nix_builds=nix_builds,
            network="host" if network else "none",
        )

    def on_host(self, path: str) -> Path:
        """Where the host finds a path of this store."""
        return self.folder / "store" / Path(path).name

    def fetch(self, expression: str, *volumes: str) -> str:
        """Evaluate an expression that fetches to a store path; that is the channel from now on."""
        container = self.container(*volumes, network=True)
        return str(json.loads(self._held(container, FETCH, expression)))

    def import_files(self, folder: Path) -> None:
        """Add `folder`/debs/*.deb and `folder`/debian-bootstrap as fixed outputs."""
        volume = f"{folder.resolve()}:/import:ro"
        self._held(self.container(volume), IMPORT)

    def instantiate(self, channel: Path) -> list[str]:
        """Write every derivation of the channel to the store, root them, return the .drv paths.

        Those of their whole build closures are among these.
        """
        container = self.container(f"{channel.resolve()}:/channel:ro")
        return self._held(container, INSTANTIATE, EVERY_DERIVATION).split()

    def build(
        self,
        channel: Path,
        files: list[str],
        attributes: list[str],
        *volumes: str,
        substitute: bool = False,
    ) -> list[str]:
        """Build attributes of files, keep them from the collector, return their paths.

        `substitute` takes from the public cache what is there.
        """
        asked = [*files]
        for attribute in attributes:
            asked += ["--attr", attribute]
        config = f"substituters = {PUBLIC_CACHE}\ntrusted-public-keys = {PUBLIC_KEY}\n"
        container = self.container(
            f"{channel.resolve()}:/channel:ro",
            *volumes,
            nix_builds=True,
            network=substitute,
            config=config if substitute else "",
        )
        return self._held(container, BUILD, *asked).split()

    def _held(self, container: Container, script: str, *words: str) -> str:
        """Run a shell script in the store, while builders and collectors leave it alone."""
        return container.run(["/bin/sh", "-eu", "-c", HELD + script, "sh", *words])
