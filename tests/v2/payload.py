"""What the guest gets beside its system: Python packages, images with a store, the checkout."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Final

from tests.sandbox import store
from tests.v2 import disk
from tests.v2.root import PYTHON
from tests.v2.run import run, step

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ARGUMENTS: Final = ".test-v2-arguments"  # read by guest/suite.sh
#: Checkers, which nobody calls in the guest.
_UNUSED: Final = ("mypy", "mypyc", "ruff*", "playwright*", "bin/ruff", "*__mypyc*")


def pip_argv(folder: Path, requirements: Path) -> list[str]:
    """The locked packages for the guest's Python, whichever runs here."""
    return [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "install",
        "--quiet",
        "--target", str(folder),
        "--python-version", PYTHON,
        "--implementation", "cp",
        "--only-binary", ":all:",
        "--no-deps",  # the lock file names them all
        "--require-hashes",
        "--requirement", str(requirements),
    ]  # fmt: skip


def wheels(state: Path) -> Path:
    """The Python packages of requirements.txt."""
    requirements = REPOSITORY / "requirements.txt"
    key = _digest(requirements.read_text(), PYTHON, *_UNUSED)

    def fill(folder: Path) -> None:
        run(pip_argv(folder, requirements))
        for pattern in _UNUSED:
            for path in folder.glob(pattern):
                run(["rm", "-rf", path])

    return disk.kept(state, "wheels", key, fill)


def images(state: Path, source: Path) -> Path:
    """The runner's images of this source, and the store that the suite's jails see."""
    # asked of the copy: its digest must not move while others write to the working tree
    made = json.loads(run([sys.executable, "-m", "nix", "images"], cwd=source))
    names = [made["base"], made["runner"]]
    ids = run(["docker", "image", "inspect", "--format", "{{.Id}}", *names])
    key = _digest(ids, *names, Path(store.__file__).read_text())

    def fill(folder: Path) -> None:
        run(["docker", "save", "--output", folder / "images.tar", *names])
        # made here: patchelf and ldd on a hundred files take minutes under emulation
        store.make(folder, made["base"])

    return disk.kept(state, "images", key, fill)


def source(folder: Path, arguments: list[str]) -> None:
    """Copy the checkout as it is on the disk now, committed or not, and say what to run."""
    listed = run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY
    )
    for name in filter(None, listed.split("\0")):
        path = REPOSITORY / name
        if path.is_file():  # not one that was removed, and not yet from the index
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (folder / ARGUMENTS).write_text("".join(f"{argument}\n" for argument in arguments))


def source_disk(folder: Path, target: Path) -> Path:
    """A disk for one run."""
    with step("make the disk `source`"):
        disk.write(folder, target, label="source")
    return target


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
