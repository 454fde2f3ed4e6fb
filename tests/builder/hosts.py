"""Two hosts on one machine: each has a store of its own, and the second a network of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from init import storestamp
from sandstream.containers import storekeeper
from tests.builder.conftest import STATE

UID = 30000
_NUMBERS = itertools.count(1)


def in_store(image, nix, script, *, stdin=None, stdout=subprocess.PIPE):
    """Run a script as the owner of a store."""
    argv = [
        "docker", "run", "--rm", "--interactive",
        "--network", "none",
        "--user", f"{UID}:{UID}",
        "--cap-drop", "ALL",
        "--tmpfs", "/tmp:exec,mode=1777",
        "--env", "HOME=/tmp/home", "--env", "NIX_REMOTE=local",
        "--volume", f"{nix}:/nix",
        "--entrypoint", "/bin/sh", image, "-ec", script,
    ]  # fmt: skip
    return subprocess.Popen(argv, stdin=stdin, stdout=stdout)


def ask(image, nix, script):
    process = in_store(image, nix, script)
    out, _ = process.communicate()
    assert process.returncode == 0, script
    return out.decode()


class Host:
    """A state folder with the channel, and an empty store unless it is filled."""

    def __init__(self, folder, image):
        self.folder = folder
        self.image = image
        folder.mkdir()
        shutil.copytree(STATE / "channel", folder / "channel", symlinks=True)
        for part in ("nix", "nix/store", "nix/var", "nix/var/nix"):
            (folder / part).mkdir()
            os.chown(folder / part, UID, UID)
        storestamp.stamp(str(folder / "nix"), UID)  # as set-up makes one

    @property
    def store(self):
        return self.folder / "nix/store"

    def fill(self, paths):
        """Have these paths and all that they need of the tests' store, rooted."""
        shutil.rmtree(self.folder / "nix")
        argv = ["cp", "--archive", _filled(self.image, *paths), self.folder / "nix"]
        subprocess.run(argv, check=True)
        return self

    def valid(self):
        """Every valid path of the store."""
        return set(ask(self.image, self.folder / "nix", "nix path-info --all").split())


@functools.cache
def _filled(image, *paths):
    """A store with these paths, to be copied: an import takes thirty times as long as that."""
    folder = tempfile.mkdtemp(prefix="sandstream-test-", dir="/var/tmp")
    atexit.register(shutil.rmtree, folder)
    own = Host(Path(folder, "host"), image).folder / "nix"
    tops = "/nix/var/nix/gcroots/channel-derivations"
    wanted = f"{' '.join(paths)} $(readlink {tops}/*)"
    export = f"nix-store --export $(nix-store --query --requisites {wanted})"
    with (
        in_store(image, STATE / "nix", export) as source,
        in_store(image, own, "nix-store --import", stdin=source.stdout) as target,
    ):
        target.communicate()
    assert (source.returncode, target.returncode) == (0, 0)
    roots = "/nix/var/nix/gcroots/warm"
    links = "; ".join(f"ln -s {path} {roots}/" for path in paths)
    ask(image, own, f"mkdir -p {roots}; {links}")
    # as set-up leaves a store
    for part in ("var/nix/gcroots/channel-derivations", "var/sandstream/trusted"):
        argv = ["cp", "--archive", "--parents", part, own]
        subprocess.run(argv, check=True, cwd=STATE / "nix")
    return own


@contextmanager
def network():
    """A network of its own; gives its name and the address of this machine in it."""
    name = f"test-{os.getpid()}-{next(_NUMBERS)}"
    subprocess.run(["docker", "network", "create", name], check=True, capture_output=True)
    try:
        form = "{{(index .IPAM.Config 0).Gateway}}"
        argv = ["docker", "network", "inspect", name, "--format", form]
        yield name, subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    finally:
        subprocess.run(["docker", "network", "rm", name], check=True, capture_output=True)


def free_port(address):
    with socket.create_server((address, 0)) as listener:
        return listener.getsockname()[1]


async def public_key(stack):
    """The builder makes it at its first start, shown beside what it signs."""
    for _ in range(400):
        if (shown := stack.cache / "keys" / "test-2.pub").exists():
            return shown.read_text()
        await asyncio.sleep(0.05)
    raise AssertionError("no key")


def keeper(first, second, *, url=None, key=None, **more):
    """The second host's storekeeper, in a network that has nothing but the way to the first."""
    environment = {
        "SUBSTITUTERS": url or first.url,
        "TRUSTED_PUBLIC_KEYS": first.key if key is None else key,
        **more,
    }
    stack = replace(
        first.stack,
        instance=f"{first.stack.instance}-second",
        state=second.folder,
        network=first.network,
        environment=environment,
    )
    return storekeeper(stack)


def socket_of(second):
    return second.folder / "run/store/socket"


async def published(first, path):
    """Wait until the first host's cache has it."""
    info = first.stack.cache / f"{path.split('/')[3][:32]}.narinfo"
    for _ in range(1200):
        if info.exists():
            return info
        await asyncio.sleep(0.05)
    raise AssertionError(await first.builder.pair.builder.log())


def held(host, environment):
    """What an environment holds in a store: its own path, and the trusted ones of its closure."""
    return {environment.path} | (set(environment.closure) & host.valid())


def requests(first, word):
    """Lines of the cache server's log with this word."""
    argv = ["docker", "logs", f"{first.stack.instance}-cache"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if word in line]


async def ended(builder, id_, within=60.0):
    """The state of a submission at its end."""
    deadline = time.monotonic() + within
    while not (state := await builder.log.state(id_)).ended:
        assert time.monotonic() < deadline, (state.status, await builder.pair.builder.log())
        await asyncio.sleep(0.05)
    return state
