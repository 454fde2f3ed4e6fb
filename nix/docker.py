"""The `docker` command line: the one file here that knows its options."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nix.run import run, succeeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def exists(*tags: str) -> bool:
    """Whether every one of these images is on this machine; one call, so that asking is cheap."""
    return succeeds(["docker", "image", "inspect", "--format", "{{.Id}}", *tags])


def pull(image: str) -> bool:
    """Whether the image is here, or a registry gave it."""
    return exists(image) or succeeds(["docker", "pull", "--quiet", image])


def build_argv(
    tag: str,
    *,
    build_args: Mapping[str, str],
    target: str | None = None,
    host_network: bool = False,
) -> list[str]:
    """Build the folder `.` to `tag`."""
    argv = ["docker", "build", "--tag", tag]
    if host_network:
        # apt needs the network, and a machine in a sandbox often has no bridge that leads out
        argv += ["--network", "host"]
    if target:
        argv += ["--target", target]
    for name, value in sorted(build_args.items()):
        argv += ["--build-arg", f"{name}={value}"]
    return [*argv, "."]


def build(
    context: Path,
    tag: str,
    *,
    build_args: Mapping[str, str] | None = None,
    host_network: bool = False,
) -> None:
    """Build the Dockerfile in `context`."""
    env = dict(os.environ)
    if not succeeds(["docker", "buildx", "version"]):
        # Debian's docker.io has no buildx, and newer clients refuse to build without this
        env["DOCKER_BUILDKIT"] = "0"
    argv = build_argv(tag, build_args=build_args or {}, host_network=host_network)
    run(argv, cwd=context, env=env)


def prune(label: str) -> None:
    """Remove untagged images that bear the label: stages that the classic builder leaves behind."""
    run(["docker", "image", "prune", "--force", "--filter", f"label={label}"])


@dataclass(frozen=True)
class Container:
    """A container that lives for one command, as an unprivileged user, mostly without network."""

    image: str
    uid: int
    volumes: tuple[str, ...] = ()  # "host:container[:ro]"
    env: Mapping[str, str] = field(default_factory=dict)
    nix_builds: bool = False  # Nix's sandbox needs user namespaces and a fresh /proc
    network: str = "none"  # "host" where set-up downloads: a bridge often does not lead out

    def argv(self, command: Sequence[str]) -> list[str]:
        """Give the whole command line; everything not listed here is Docker's default."""
        options = [
            "docker", "run", "--rm", "--interactive",
            "--network", self.network,
            "--user", f"{self.uid}:{self.uid}",
            "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges",
            "--tmpfs", "/tmp:exec,mode=1777",  # noqa: S108 - inside the container
            # Nix refuses a home that another user owns; one that is not there yet it makes
            "--env", "HOME=/tmp/home",
        ]  # fmt: skip
        if self.nix_builds:
            # set-up builds only what this repository holds; submissions get a written-out profile
            options += ["--security-opt", "seccomp=unconfined"]
            options += ["--security-opt", "systempaths=unconfined"]
            options += ["--security-opt", "apparmor=unconfined"]
        for volume in self.volumes:
            options += ["--volume", volume]
        for name, value in sorted(self.env.items()):
            options += ["--env", f"{name}={value}"]
        return [*options, "--entrypoint", command[0], self.image, *command[1:]]

    def run(self, command: Sequence[str], *, stdin: bytes | None = None) -> str:
        """Run the command in it and return its stdout."""
        return run(self.argv(command), stdin=stdin)
