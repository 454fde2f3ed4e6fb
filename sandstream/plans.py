"""What the containers around a store are, as the engine wants to be told. Pure.

The builder owns the store. What users wrote runs in containers of the build pool alone
(`worker/spec.py`), each under a uid of its own. Beside the builder there is one that serves the
binary cache, and on a worker host one that fetches. None has a capability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from init.jail import REAPER

#: Owner of the store; nothing else on the host has these uids.
BUILDER_UID: Final = 30000
#: Serves the cache over HTTP, and can write nowhere.
CACHE_UID: Final = 30002

_TMPFS: Final = "exec,mode=1777,nosuid,nodev"


@dataclass(frozen=True, slots=True)
class BuilderStack:
    """What all three containers, and the pool of build containers, are made of.

    `state` is the folder with `nix/` and `channel/`; `seccomp` the JSON text of the profile;
    `environment` the builder's settings, NATS and channel revision among them. `instance` names
    the containers and their labels: one live stack of a state folder bears it. Several builders
    of one store differ in `instance` and in `name`, that of their own folders. `cache_listen` is
    the address:port at which the binary cache is served; empty: there is none. `memory_bytes` is
    the wall around all jobs of a builder together; 0: none.
    """

    instance: str
    state: Path
    builder_image: str
    runner_image: str
    seccomp: str
    apparmor: bool = False  # whether the engine confines containers with it
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "builder"
    cache_listen: str = ""
    memory_bytes: int = 0
    network: str = "host"

    @property
    def run(self) -> Path:
        """The folder of sockets that the builder sees: its jobs', and the build pool's."""
        return self.state.absolute() / "run" / self.name

    @property
    def pool(self) -> Path:
        """The socket of the build pool."""
        return self.run / "pool"

    @property
    def own(self) -> Path:
        """The builder's own folder: its signing key, and its builds' scratch space."""
        return self.state.absolute() / self.name

    @property
    def cache(self) -> Path:
        """The binary cache, of all builders of this store."""
        return self.state.absolute() / "cache"

    @property
    def store_run(self) -> Path:
        """The folder of the storekeeper's socket."""
        return self.state.absolute() / "run" / "store"


def _config(stack: BuilderStack, role: str, image: str, uid: int) -> dict[str, Any]:
    """What all have in common: no privilege at all, and nothing of the host that is not named."""
    security = ["no-new-privileges", f"seccomp={stack.seccomp}"]
    if stack.apparmor:
        # Docker's own AppArmor profile denies every mount, and nsjail's first act is one
        security.append("apparmor=unconfined")
    return {
        "Image": image,
        "User": f"{uid}:{uid}",
        "Labels": {"sandstream.role": role, "sandstream.instance": stack.instance},
        "HostConfig": {
            "CapDrop": ["ALL"],
            "SecurityOpt": security,
            "ReadonlyRootfs": True,
            # a nested namespace gets a /proc of its own only where the outer one is all visible
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "Tmpfs": {"/tmp": _TMPFS, "/run": _TMPFS},  # noqa: S108 - in the container
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        },
    }


def builder_config(stack: BuilderStack) -> dict[str, Any]:
    """The store's owner; on the host's network, as NATS listens on the loopback device."""
    state = stack.state.absolute()
    config = _config(stack, "builder", stack.builder_image, BUILDER_UID)
    environment = dict(stack.environment)
    if stack.cache_listen:
        environment.setdefault("SANDSTREAM_PUBLISH_TO", "file:///cache")
    config["Env"] = [f"{name}={value}" for name, value in sorted(environment.items())]
    # a reaper as PID 1: Python would not hear SIGTERM before it has its handler
    config["Entrypoint"] = [REAPER, "--", "/usr/bin/python3", "-P", "-m", "builder"]
    config["HostConfig"] |= {
        "NetworkMode": stack.network,
        **_walls(stack),
        "Binds": [
            f"{state}/nix:/nix",
            f"{state}/channel:/channel:ro",
            f"{stack.own}:/var/lib/sandstream",
            f"{stack.cache}:/cache",
            f"{stack.run}:/run/builder",
            "/sys/fs/cgroup:/cgroup",
        ],
    }
    return config


def _walls(stack: BuilderStack) -> dict[str, Any]:
    """Docker's own limits around all jobs of a container; each job has those of its cgroup."""
    if not stack.memory_bytes:
        return {}
    return {"Memory": stack.memory_bytes, "MemorySwap": stack.memory_bytes}


def cache_config(stack: BuilderStack) -> dict[str, Any]:
    """The binary cache over HTTP: static files, read-only, started again when it ends.

    Busybox's httpd, which the image has anyway. It would run scripts below `cgi-bin` and read
    an `httpd.conf`; the builder writes neither, nothing there can be executed, and it is told
    another file.
    """
    config = _config(stack, "cache", stack.builder_image, CACHE_UID)
    config["Entrypoint"] = [
        REAPER, "--", "/usr/bin/busybox", "httpd",
        "-f",  # in the foreground
        "-vv",  # each request and its answer in the log
        "-p", stack.cache_listen,
        "-c", "/dev/null",
        "-h", "/cache",
    ]  # fmt: skip
    config["HostConfig"] |= {
        "NetworkMode": stack.network,
        "Memory": 128 * 1024 * 1024,
        "PidsLimit": 300,
        "RestartPolicy": {"Name": "on-failure"},  # the port may be taken for a moment
        "Binds": [f"{stack.cache}:/cache:ro"],
    }
    return config


def storekeeper_config(stack: BuilderStack) -> dict[str, Any]:
    """Fetches signed paths into a worker host's store, for whoever may use its socket.

    It evaluates and builds nothing. `environment` has SUBSTITUTERS and TRUSTED_PUBLIC_KEYS.
    """
    config = _config(stack, "store", stack.builder_image, BUILDER_UID)
    config["Env"] = [f"{name}={value}" for name, value in sorted(stack.environment.items())]
    config["Entrypoint"] = [REAPER, "--", "/usr/bin/python3", "-P", "-m", "builder.storekeeper"]
    config["HostConfig"] |= {
        "NetworkMode": stack.network,
        "Memory": 1024 * 1024 * 1024,
        "PidsLimit": 500,
        "Binds": [f"{stack.state.absolute()}/nix:/nix", f"{stack.store_run}:/run/store"],
    }
    return config
