"""Every Nix command line: what is run, with which environment, and in which jail.

A shell becomes an environment in one program of three steps, the same in an evaluator's jail
(where Nix is an untrusted client of a job's daemon) and in a submission's own container (where
the store is a private one): build the shell's inputs, name their closure, take its variables.
"""

from __future__ import annotations

import os
import re
from typing import Final

from init import relay
from init.jail import DEVICES, NIX_POLICY, REAPER, Bind, Jail, Mount, Symlink
from init.process import LOG_FD, STARTED_FD

STORE: Final = "/nix/store"
CHANNEL: Final = "/channel"
SHELL: Final = "shell.nix"
#: Where a jail sees the files that a shell may read. Its name shows up in store paths.
FILES: Final = "/work"
#: Where a daemon's jail sees the scratch folder of its builds.
BUILD_DIR: Final = "/build"
#: Nothing here is the submission's output, so no limit of the request's cuts it.
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024

#: The jail's own, and in it that of each build's sandbox. A build that could make one more would
#: have every capability in it: packet filters, raw sockets and mounts of the kernel's.
_USER_NAMESPACES: Final = 2
_SOCKET: Final = "/run/nix.socket"
_STORE_PATH: Final = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-._?=]+")
#: No evaluation reads what was not given to it, the store's other paths included.
_RESTRICTED: Final = (
    "--option", "restrict-eval", "true",
    "-I", f"files={FILES}",
)  # fmt: skip
_COMMON: Final = (("HOME", "/tmp"), ("PATH", "/usr/bin"), ("LANG", "C.UTF-8"))  # noqa: S108 - a tmpfs of the jail's
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


def inputs_argv() -> list[str]:
    """Build everything that the shell needs; prints the output's path.

    `inputDerivation` is nixpkgs' known way to cache a whole nix-shell: it can be built where the
    shell itself can't, and its output refers to all inputs.
    """
    return [
        "nix-build", SHELL,
        "--attr", "inputDerivation",
        "--no-out-link",  # the builder makes the root, under the environment's name
        *_RESTRICTED,
    ]  # fmt: skip


def instantiate_argv() -> list[str]:
    """Evaluate only: write the inputs' derivations to the store and print the one of all."""
    return ["nix-instantiate", SHELL, "--attr", "inputDerivation", *_RESTRICTED]


def profile_argv() -> list[str]:
    """Print the shell's variables and functions as JSON; all that it builds is one script's run."""
    return [
        "nix",
        "--offline",  # all inputs are here; without it Nix warns that there is no network
        "print-dev-env",
        "--json",
        "--file", SHELL,
        *_RESTRICTED,
    ]  # fmt: skip


def closure_argv(path: str) -> list[str]:
    """Print the path and everything it refers to, one on each line."""
    return ["nix-store", "--query", "--requisites", path]


def script() -> str:
    """The program: the closure's paths, one on each line with the inputs' own last, then the JSON.

    One process tree under one clock, so that the limits hold for all steps together.
    """
    closure = " ".join(closure_argv('"$inputs"'))
    return "\n".join(
        (
            f"inputs=$({_words(inputs_argv())}) || exit",
            f"{closure} || exit",
            'echo "inputs $inputs"',
            f"exec {_words(profile_argv())}",
        )
    )


def instantiate_script() -> str:
    """The program that only evaluates, so that the builder can fetch before anything is built."""
    return f"exec {_words(instantiate_argv())}"


def is_root_of_a_build(path: str) -> bool:
    """Whether Nix made this folder of the store for a build: it bears its derivation's whole name.

    An output may be called so too, but there is no derivation with its hash.
    """
    return path.endswith(".drv.chroot") and os.path.lexists(path.removesuffix(".chroot"))


def store_environment() -> dict[str, str]:
    """For the store's owner, who asks the store itself."""
    return {**dict(_COMMON), "NIX_REMOTE": "local"}


def caches_config(substituters: str, trusted_public_keys: str) -> str:
    """Nix settings of who takes signed paths from these caches.

    A cache that does not answer costs seconds, not minutes; and what it did not have is asked
    again next time: a builder may have published it since.
    """
    return "\n".join(
        (
            f"substituters = {' '.join(substituters.replace(',', ' ').split())}",
            f"trusted-public-keys = {' '.join(trusted_public_keys.replace(',', ' ').split())}",
            "require-sigs = true",
            "connect-timeout = 3",
            "download-attempts = 2",
            "stalled-download-timeout = 20",
            "narinfo-cache-negative-ttl = 0",
            "narinfo-cache-positive-ttl = 60",
        )
    )


def fetch_config(substituters: str, trusted_public_keys: str) -> str:
    """The same for who only fetches: no build, whatever is asked."""
    caches = caches_config(substituters, trusted_public_keys)
    return f"{caches}\nmax-jobs = 0\nbuilders =\nfallback = false"


def fetch_script(derivation: str) -> str:
    """Fetch what building `derivation` would need and a cache has; only whole outputs, by path.

    No derivation is handed to this Nix, which has a network: the dry run only names paths. Only
    `open` gives one to the builds as well.
    """
    return (
        f"nix-store --realise --dry-run '{derivation}' 2>&1"
        " | sed -n '/ will be fetched/,/^[^ ]/ s|^  \\(/nix/store/[^ ]*\\)$|\\1|p'"
        " | xargs -r nix-store --realise --keep-going"
    )


def daemon_jail(
    *, uid: int, store: str, folder: str, scratch: str, network: bool = False, proxy: str = ""
) -> Jail:
    """A daemon for one job: whoever can reach the socket in `folder` may build, and no more.

    Its network is a namespace of its own and empty, so neither a build nor a fixed-output
    derivation reaches anything; unless `network` says otherwise, for the latter, or `proxy` is the
    socket of one. Nobody is trusted: a client can't add substituters, switch off the sandbox or
    import paths that nobody signed.
    """
    script = "exec nix-daemon"
    config = ("trusted-users =", "allowed-users = *", f"build-dir = {BUILD_DIR}")
    return Jail(
        command=(REAPER, "--", *_sh(relay.before(script) if proxy else script)),
        mounts=(
            *_SYSTEM,
            *_TERMINALS,
            Bind(store, "/nix", writable=True),
            Bind(folder, folder, writable=True),
            Bind(scratch, BUILD_DIR, writable=True),
            *(_NETWORK if network else ()),
            *(relay.mounts(proxy) if proxy else ()),
        ),
        cwd="/",
        outer_uid=uid,
        environment=(
            *_COMMON,
            *(relay.environment() if proxy else ()),
            ("NIX_REMOTE", "local"),
            ("NIX_DAEMON_SOCKET_PATH", f"{folder}/socket"),
            ("NIX_CONFIG", "\n".join(config)),
        ),
        policy=NIX_POLICY,
        user_namespaces=_USER_NAMESPACES,
        network=network,
        proc_writable=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def fetch_jail(*, uid: int, store: str, derivation: str, config: str) -> Jail:
    """The builder's own fetch for one job: it has the network and the store, and nothing builds."""
    return Jail(
        command=(REAPER, "--", *_sh(fetch_script(derivation))),
        mounts=(*_SYSTEM, Bind(store, "/nix", writable=True), *_NETWORK),
        cwd="/",
        outer_uid=uid,
        environment=(*_COMMON, ("NIX_REMOTE", "local"), ("NIX_CONFIG", config)),
        network=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def evaluator_jail(*, uid: int, files: str, socket: str, program: str | None = None) -> Jail:
    """An evaluation: it sees the shell's files, the channel, the store and its daemon's socket."""
    return Jail(
        command=(REAPER, "--", *_sh(program or script())),
        mounts=(
            *_SYSTEM,
            Bind(STORE, STORE),
            Mount("tmpfs", "/nix/var/nix", "mode=755"),  # or Nix takes a store under HOME
            Bind(CHANNEL, CHANNEL),
            Bind(socket, _SOCKET, writable=True),
            Bind(files, FILES),
        ),
        cwd=FILES,
        outer_uid=uid,
        environment=(
            *_COMMON,
            ("NIX_REMOTE", f"unix://{_SOCKET}"),
            ("NIX_PATH", f"nixpkgs={CHANNEL}"),
        ),
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def container_jail(
    *, uid: int, files: str, var: str, scratch: str, proxy: str = "", config: str = ""
) -> Jail:
    """A whole Nix in a submission's own container: a plain local store, no daemon, no network.

    With the socket of a `proxy`: what that allows. `config` has the caches that are behind it.
    """
    return Jail(
        command=(REAPER, "--", *_sh(relay.before(script()) if proxy else script())),
        mounts=(
            *_SYSTEM,
            *_TERMINALS,
            Bind(STORE, STORE, writable=True),
            Bind(var, "/nix/var", writable=True),
            Bind(CHANNEL, CHANNEL),
            Bind(scratch, BUILD_DIR, writable=True),
            Bind(files, FILES),
            *(relay.mounts(proxy) if proxy else ()),
        ),
        cwd=FILES,
        outer_uid=uid,
        environment=(
            *_COMMON,
            *(relay.environment() if proxy else ()),
            ("NIX_REMOTE", "local"),
            ("NIX_PATH", f"nixpkgs={CHANNEL}"),
            ("NIX_CONFIG", f"build-dir = {BUILD_DIR}\n{config}".rstrip()),
        ),
        policy=NIX_POLICY,
        user_namespaces=_USER_NAMESPACES,
        proc_writable=True,
        pass_fds=(STARTED_FD,),
        log_fd=LOG_FD,
    )


def is_shell_file(name: str) -> bool:
    """Whether a shell may read this file of its submission: nothing else can change what it is."""
    return name == SHELL or name.endswith((".nix", ".lock")) or name.startswith("nix/")


def is_store_path(path: str) -> bool:
    return _STORE_PATH.fullmatch(path) is not None


def _words(argv: list[str]) -> str:
    return " ".join(argv)


def _sh(script: str) -> tuple[str, ...]:
    """A shell that first tells that the jail stands: until then a failure is ours."""
    told = f"printf . >&{STARTED_FD}; exec {STARTED_FD}>&-"
    return ("/usr/bin/sh", "-c", f"{told}\n{script}")
