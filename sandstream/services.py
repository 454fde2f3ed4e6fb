"""What each process of the stack is told: its command line, and the whole of its environment."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nix import channel, docker, images, pin
from sandstream import confined, credentials, runtime
from sandstream.state import CHECKOUT, State
from sandstream.supervisor import Program

#: What a child may know of our environment, beside the settings.
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "DOCKER_HOST")
PREFIX: Final = "SANDSTREAM_"
#: Settings that go by the names that Nix's users know.
PLAIN: Final = ("SUBSTITUTERS", "TRUSTED_PUBLIC_KEYS")
#: The API's keys, for the API and the clients of this host.
KEYS_FILE: Final = "SANDSTREAM_KEYS_FILE"
#: A worker's uids: by default 64 slices of 1024, from 1,000,000 on.
_UID_FIRST: Final = 1_000_000
_UIDS: Final = 65_536
#: In the order of their start; they stop the other way round, so that the API goes first.
SERVICES: Final = ("projector", "worker", "api")


class NotSetUpError(Exception):
    """An image or the channel is not there, or not of this source."""


@dataclass(frozen=True)
class SetUp:
    """What set-up made: the images of this source, the revision of the channel."""

    images: images.ImageTags
    channel_revision: str


def set_up(state: State) -> SetUp:
    """Look for it; raises NotSetUpError. Everything that is missing comes by `make setup`."""
    tags = images.tags()
    if not docker.exists(tags.runner, tags.builder):
        raise NotSetUpError("no Docker engine answers, or it lacks the images: run `make setup`")
    if not (state.channel / "default.nix").exists() or not (state.nix / "store").is_dir():
        raise NotSetUpError(f"{state.folder} has no Nix channel yet: run `make setup`")
    if not channel.is_stamped(state.folder):
        raise NotSetUpError(
            f"an older version filled the Nix store of {state.folder}, and a user's build may have"
            " rewritten any of it: run `make setup`, which fills a new one"
        )
    try:
        runtime.prepare()
    except runtime.NotConfinableError as error:
        raise NotSetUpError(str(error)) from None
    return SetUp(tags, channel.revision(state.folder))


def caches(channel_revision: str, ours: Mapping[str, str]) -> dict[str, str]:
    """Where builders fetch what others have built: as we were told, else nixpkgs' own cache.

    The offline channel has none: everything of it is built here.
    """
    told = {name: ours[name] for name in PLAIN if name in ours}
    if told or not channel_revision.startswith("nixpkgs-"):
        return told
    return {"SUBSTITUTERS": pin.PUBLIC_CACHE, "TRUSTED_PUBLIC_KEYS": pin.PUBLIC_KEY}


def settings(ours: Mapping[str, str]) -> dict[str, str]:
    """What the person who started us has set; a service does not run in that person's folder.

    A password is handed over as a file.
    """
    told = {
        key: value
        for key, value in ours.items()
        if key.startswith(PREFIX) and key not in credentials.VARIABLES
    }
    if told.get(KEYS_FILE):
        told[KEYS_FILE] = str(Path(told[KEYS_FILE]).absolute())
    return told


def own_to(state: State) -> dict[str, str]:
    """What keeps two stacks of one host apart.

    The worker's name, which its containers bear, and the uids that these have.
    """
    number = state.number
    host = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname())[:40] or "worker"
    return {
        "SANDSTREAM_WORKER_NAME": f"{host}-{number}",
        "SANDSTREAM_UID_FIRST": str(_UID_FIRST + number * _UIDS),
    }


def environment(
    state: State, made: SetUp, port: int, nats: Mapping[str, str], ours: Mapping[str, str]
) -> dict[str, str]:
    """Settings of the person who started us go before our own choices, but for what must fit."""
    inherited = {key: ours[key] for key in INHERITED if key in ours}
    return {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        **own_to(state),
        **settings(ours),
        "SANDSTREAM_STATE": str(state.folder),
        "SANDSTREAM_PORT": str(port),
        "SANDSTREAM_RUNNER_IMAGE": made.images.runner,
        "SANDSTREAM_CHANNEL_REVISION": made.channel_revision,
        **nats,
    }


def program(name: str, state: State, made: SetUp, port: int, nats: Mapping[str, str]) -> Program:
    """A service is its folder: `python -m NAME`, in the checkout.

    Of all services the worker alone is root, and reaches Docker.
    """
    env = environment(state, made, port, nats, os.environ)
    argv = (sys.executable, "-m", name)
    if name in confined.NAMES:
        jail = confined.service(name, state, env)
        return Program(name, (*jail.launcher(), *argv), confined.environment(env), CHECKOUT)
    if name == "worker":
        env |= caches(made.channel_revision, os.environ)  # a container may have to build for itself
    return Program(name, argv, env, CHECKOUT)
