"""The jails that Nix runs in: the store's daemon, the trusted fetch, and a container's own Nix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from init import nix, relay
from init.jail import DEVICES, NIX_POLICY, REAPER, Bind, Jail, Mount, Symlink
from init.process import LOG_FD, STARTED_FD

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The jail's own, and in it that of each build's sandbox. A build that could make one more would
#: have every capability in it: packet filters, raw sockets and mounts of the kernel's.
_USER_NAMESPACES: Final = 2
_SYSTEM: Final[tuple[Bind | Mount | Symlink, ...]] = (
    Bind("/usr", "/usr"),
    Symlink("usr/bin", "/bin"),
    Symlink("usr/lib", "/lib"),
    Symlink("usr/lib64", "/lib64"),
    Bind("/etc/nix", "/etc/nix"),
    *DEVICES,
    Mount("tmpfs", "/tmp", "mode=1777"),  # noqa: S108
)
#: Nix gives each build a terminal of its own, and binds its own devices from ours.
_TERMINALS: Final[tuple[Bind | Mount | Symlink, ...]] = (
    Bind("/dev/tty", "/dev/tty", writable=True),
    Mount("devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620"),
    Symlink("/dev/pts/ptmx", "/dev/ptmx"),
)
#: What a resolver and TLS read.
_NETWORK: Final = tuple(
    Bind(path, path)
    for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/passwd")
)


def daemon_jail(*, uid: int, store: str, folder: str, scratch: str) -> Jail:
    """The store's own daemon, for one job of the trusted side's.

    It builds recorded derivations alone, over trusted inputs. Its socket lies in `folder`, which
    only the store's owner can enter. It has no network, and nobody is trusted beyond building.
    """
    config = ("trusted-users =", "allowed-users = *", f"build-dir = {nix.BUILD_DIR}")
    return Jail(
        command=(REAPER, "--", *_sh("exec nix-daemon")),
        mounts=(
            *_SYSTEM,
            *_TERMINALS,
            Bind(store, "/nix", writable=True),
            Bind(folder, folder, writable=True),
            Bind(scratch, nix.BUILD_DIR, writable=True),
        ),
        cwd="/",
        outer_uid=uid,
        environment=(
            *nix.COMMON,
            ("NIX_REMOTE", "local"),
            ("NIX_DAEMON_SOCKET_PATH", f"{folder}/socket"),
            ("NIX_CONFIG", "\n".join(config)),
        ),
        policy=NIX_POLICY,
        user_namespaces=_USER_NAMESPACES,
        proc_writable=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def fetch_jail(*, uid: int, store: str, paths: Iterable[str], config: str) -> Jail:
    """The trusted side's own fetch: it has the network and the store, and nothing builds."""
    return Jail(
        command=(REAPER, "--", *_sh(nix.fetch_script(paths))),
        mounts=(*_SYSTEM, Bind(store, "/nix", writable=True), *_NETWORK),
        cwd="/",
        outer_uid=uid,
        environment=(*nix.COMMON, ("NIX_REMOTE", "local"), ("NIX_CONFIG", config)),
        network=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def container_jail(
    *,
    uid: int,
    files: str,
    var: str,
    scratch: str,
    proxy: str = "",
    config: str = "",
    program: str | None = None,
    registration: str = "",
) -> Jail:
    """A whole Nix in a container of the job's own: a plain local store, no daemon, no network.

    With the socket of a `proxy`: what that allows. `config` has the caches that are behind it.
    `registration` is a file for `nix-store --load-db`.
    """
    program = program or nix.script()
    return Jail(
        command=(REAPER, "--", *_sh(relay.before(program) if proxy else program)),
        mounts=(
            *_SYSTEM,
            *_TERMINALS,
            Bind(nix.STORE, nix.STORE, writable=True),
            Bind(var, "/nix/var", writable=True),
            Bind(nix.CHANNEL, nix.CHANNEL),
            Bind(scratch, nix.BUILD_DIR, writable=True),
            Bind(files, nix.FILES),
            *((Bind(registration, nix.REGISTRATION),) if registration else ()),
            *(relay.mounts(proxy) if proxy else ()),
        ),
        cwd=nix.FILES,
        outer_uid=uid,
        environment=(
            *nix.COMMON,
            *(relay.environment() if proxy else ()),
            ("NIX_REMOTE", "local"),
            ("NIX_PATH", f"nixpkgs={nix.CHANNEL}"),
            ("NIX_CONFIG", f"build-dir = {nix.BUILD_DIR}\n{config}".rstrip()),
        ),
        policy=NIX_POLICY,
        user_namespaces=_USER_NAMESPACES,
        proc_writable=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def _sh(script: str) -> tuple[str, ...]:
    """A shell that first tells that the jail stands: until then a failure is ours."""
    told = f"printf . >&{STARTED_FD}; exec {STARTED_FD}>&-"
    return ("/usr/bin/sh", "-c", f"{told}\n{script}")
