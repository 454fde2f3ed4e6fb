"""`.venv`: this repository's own Python environment, from the lock file alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from deploy.debian import base_python
from deploy.say import run, step

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / ".venv"
LOCK: Final = ROOT / "requirements.txt"
_COMMAND: Final = """#!{python}
from sandstream.__main__ import main

raise SystemExit(main())
"""


def python() -> Path:
    """The environment's interpreter."""
    return FOLDER / "bin" / "python"


def stamp() -> str:
    """What the environment is made from: the lock, the interpreter, where it stands."""
    words = (LOCK.read_text(), sys.version, base_python(), str(FOLDER))
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def make(logs: Path) -> None:
    """Make it when it is not there or not of this lock; else do nothing.

    The project is put on its path by a `.pth` file: no build back end, nothing to build again
    after an edit.
    """
    mark = FOLDER / "made-from"
    if mark.exists() and mark.read_text() == stamp() and python().exists():
        return
    log = logs / "venv.log"
    with step("make .venv from requirements.txt", "30 s"):
        shutil.rmtree(FOLDER, ignore_errors=True)
        remedy = "is there a package index that pip can reach? see `pip config list`"
        run([base_python(), "-m", "venv", str(FOLDER)], log=log, remedy="install python3-venv")
        run(install_argv(), log=log, remedy=remedy, env=os.environ | {"PIP_NO_INPUT": "1"})
        (site,) = FOLDER.glob("lib/python3*/site-packages")
        (site / "sandstream.pth").write_text(f"{ROOT}\n")
        command = FOLDER / "bin" / "sandstream"
        command.write_text(_COMMAND.format(python=python()))
        command.chmod(0o755)
        mark.write_text(stamp())


def install_argv() -> list[str]:
    """The lock names everything with its hash, so nothing needs resolving."""
    return [
        str(python()),
        "-m", "pip", "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--requirement", str(LOCK),
    ]  # fmt: skip
