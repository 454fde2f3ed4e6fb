"""The Debian testing tree that the base image starts from."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from nix import docker, mirror
from nix.run import CommandFailedError, run

PUBLISHED = "debian:testing-slim"
OWN = "sandstream-root:testing"


def debootstrap_argv(folder: Path, *, uri: str, keyring: Path) -> list[str]:
    """Make the smallest Debian testing; merged /usr is its default."""
    return [
        "debootstrap",
        "--variant=minbase",
        f"--keyring={keyring}",
        "--include=ca-certificates",
        "testing",
        str(folder),
        uri,
    ]


def own() -> str:
    """Make the tree from this machine's mirror and import it (30 s, once; needs root)."""
    if docker.exists(OWN):
        return OWN
    if shutil.which("debootstrap") is None:
        message = f"{PUBLISHED} can't be pulled, and `debootstrap` is not installed"
        raise FileNotFoundError(message)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "root"
        run(debootstrap_argv(folder, uri=mirror.archive(), keyring=mirror.keyring()))
        tar = ["tar", "--directory", str(folder), "--exclude=./dev/*", "--exclude=./var/cache/*"]
        import_argv = ["docker", "import", "-", OWN]
        with subprocess.Popen([*tar, "--create", "."], stdout=subprocess.PIPE) as packing:
            done = subprocess.run(
                import_argv, stdin=packing.stdout, capture_output=True, check=False
            )
        if packing.returncode != 0 or done.returncode != 0:
            output = done.stderr.decode(errors="replace")
            raise CommandFailedError(tuple(import_argv), done.returncode, output)
    return OWN


def root() -> str:
    """Name an image of Debian testing: the usual one where it can be had, else our own."""
    return PUBLISHED if docker.pull(PUBLISHED) else own()
