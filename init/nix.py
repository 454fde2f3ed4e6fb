"""Every Nix command line: what is run, and with which environment. Its jails: `nix_jails.py`.

A shell becomes an environment in three steps: build the shell's inputs, name their closure, take
its variables. A submission's own container does them in one program. In a builder's container an
evaluation comes first, so that the trusted side can add what the shell needs of it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

STORE: Final = "/nix/store"
CHANNEL: Final = "/channel"
SHELL: Final = "shell.nix"
#: Where a jail sees the files that a shell may read. Its name shows up in store paths.
FILES: Final = "/work"
#: Where a daemon's jail sees the scratch folder of its builds.
BUILD_DIR: Final = "/build"
#: Nothing here is the submission's output, so no limit of the request's cuts it.
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024

#: Where a job's jail finds what the trusted side has added, and its links to derivations.
REGISTRATION: Final = "/run/registration"
_ROOT: Final = "/tmp/shell"  # noqa: S108 - a tmpfs of the jail's
_READ_ROOT: Final = f'"$(readlink {_ROOT})"'
_PRINT_DEV_ENV: Final = (
    "nix",
    "--offline",  # all inputs are here; without it Nix warns that there is no network
    "print-dev-env",
    "--json",
)
#: What the trusted side has added becomes known to the job's own database.
REGISTER: Final = (
    f"if [ -e {REGISTRATION} ]; then nix-store --load-db < {REGISTRATION} || exit; fi\n"
)
_STORE_PATH: Final = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-._?=]+")
#: What every Nix of ours has in its environment.
COMMON: Final = (("HOME", "/tmp"), ("PATH", "/usr/bin"), ("LANG", "C.UTF-8"))  # noqa: S108 - a tmpfs of the jail's
#: No evaluation reads what was not given to it, the store's other paths included.
_RESTRICTED: Final = (
    "--option", "restrict-eval", "true",
    "-I", f"files={FILES}",
)  # fmt: skip


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
    """Evaluate once: write the derivations of the shell's inputs and of the shell itself.

    It builds nothing, so a derivation whose output the evaluation reads (import from derivation)
    ends it, and Nix says which. Prints a link to each of the two.
    """
    return [
        "nix-instantiate", SHELL,
        "--attr", "inputDerivation",
        "--attr", "''",  # the shell itself
        "--add-root", _ROOT,  # without one Nix warns that its collector may come
        "--option", "max-jobs", "0",
        *_RESTRICTED,
    ]  # fmt: skip


def plan_argv(derivation: str) -> list[str]:
    """Say what building `derivation` would build, and what it would fetch."""
    return ["nix-store", "--realise", "--dry-run", derivation]


def build_argv(derivation: str) -> list[str]:
    """Build a derivation that is in the store; prints its output's path."""
    return ["nix-build", derivation, "--no-out-link"]


def profile_argv() -> list[str]:
    """Print the shell's variables and functions as JSON; all that it builds is one script's run."""
    return [*_PRINT_DEV_ENV, "--file", SHELL, *_RESTRICTED]


def profile_of_argv(derivation: str) -> list[str]:
    """The same of a shell's derivation: nothing is evaluated."""
    return [*_PRINT_DEV_ENV, derivation]


def closure_argv(path: str) -> list[str]:
    """Print the path and everything it refers to, one on each line."""
    return ["nix-store", "--query", "--requisites", path]


def script() -> str:
    """The program: the closure's paths, one on each line with the inputs' own last, then the JSON.

    One process tree under one clock, so that the limits hold for all steps together.
    """
    return _build_script(_words(inputs_argv()), _words(profile_argv()))


def plan_script() -> str:
    """Evaluate; then print the two derivations, and what the first one lacks."""
    return "\n".join(
        (
            f"{_words(instantiate_argv())} > /dev/null || exit",
            f'for link in {_ROOT} {_ROOT}-[0-9]*; do echo "derivation $(readlink "$link")"; done',
            f"exec {_words(plan_argv(_READ_ROOT))} 2>&1",
        )
    )


def plan_of_script(derivation: str) -> str:
    """Print what a derivation lacks that the evaluation asked for."""
    return f"exec {_words(plan_argv(quoted(derivation)))} 2>&1"


def realise_script(derivation: str) -> str:
    """Build what an evaluation asked for, so that it can go on."""
    return f"{REGISTER}exec {_words(build_argv(quoted(derivation)))} > /dev/null"


def build_script(inputs: str, shell: str) -> str:
    """As `script`, from derivations: whatever the trusted side has added is registered first."""
    built = _build_script(
        _words(build_argv(quoted(inputs))), _words(profile_of_argv(quoted(shell)))
    )
    return f"{REGISTER}{built}"


def _build_script(build: str, profile: str) -> str:
    closure = " ".join(closure_argv('"$inputs"'))
    return "\n".join(
        (
            f"inputs=$({build}) || exit",
            f"{closure} || exit",
            'echo "inputs $inputs"',
            f"exec {profile}",
        )
    )


def quoted(path: str) -> str:
    """A store path as a shell's word. Raises ValueError for what is none."""
    if not is_store_path(path):
        raise ValueError(f"no store path: {path!r}")
    return f"'{path}'"


def is_environment(name: str) -> bool:
    """Whether a name directly below /nix/store is that of an environment, anybody's."""
    return name[32:].startswith("-environment-")


def is_root_of_a_build(path: str) -> bool:
    """Whether Nix made this folder of the store for a build: it bears its derivation's whole name.

    An output may be called so too, but there is no derivation with its hash.
    """
    return path.endswith(".drv.chroot") and os.path.lexists(path.removesuffix(".chroot"))


def store_environment() -> dict[str, str]:
    """For the store's owner, who asks the store itself."""
    return {**dict(COMMON), "NIX_REMOTE": "local"}


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


def fetch_script(paths: Iterable[str]) -> str:
    """Take from the caches what they have of these paths; nothing is built.

    No derivation is handed to this Nix, which has a network.
    """
    return f"exec nix-store --realise --keep-going {' '.join(quoted(path) for path in paths)}"


def is_shell_file(name: str) -> bool:
    """Whether a shell may read this file of its submission: nothing else can change what it is."""
    return name == SHELL or name.endswith((".nix", ".lock")) or name.startswith("nix/")


def is_store_path(path: str) -> bool:
    return _STORE_PATH.fullmatch(path) is not None


def _words(argv: list[str]) -> str:
    return " ".join(argv)
