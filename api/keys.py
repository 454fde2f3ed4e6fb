"""The API's keys: who may call it, and what a request has to bring.

A file of mode 0600 with a line `name key` for each caller. A name may have two lines while its key
is being replaced. Empty lines and those that begin with `#` are passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: What RFC 6750 lets a bearer token be; shorter ones can be guessed.
_KEY: Final = re.compile(r"(?=.{16,512}$)[A-Za-z0-9._~+/-]+=*")
_SCHEME: Final = "bearer"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeysError(ValueError):
    """The file can't be used; the message says why and what to do."""


class Keys:
    """Tells callers by their keys. Only digests are kept, so no comparison tells of a key."""

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._names = dict(names)

    def caller(self, authorization: str | None) -> str | None:
        """The name of whose key the header brings; None where it brings none that we know."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != _SCHEME:
            return None
        return self._names.get(_digest(key.strip()))


def load(file: Path) -> Keys:
    """The keys of a file. Raises KeysError."""
    names: dict[bytes, str] = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, key = _fields(line, f"{file}, line {number}")
        if names.setdefault(_digest(key), name) != name:
            raise KeysError(f"{file}, line {number}: {name} has the key of another name")
    if not names:
        raise KeysError(f"{file} holds no key: write a line `name key` for each caller")
    return Keys(names)


def _text(file: Path) -> str:
    try:
        with file.open(encoding="ascii") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & _OTHERS:
                raise KeysError(f"{file} has mode {mode:04o}, others can read it: chmod 600 {file}")
            return opened.read()
    except OSError as error:
        raise KeysError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeysError(f"{file} is not plain ASCII: {error}") from error


def _fields(line: str, where: str) -> tuple[str, str]:
    """Never repeats the line: its key would be in a log."""
    fields = line.split()
    if len(fields) != 2:  # noqa: PLR2004
        raise KeysError(f"{where}: must be `name key`, separated by a space")
    name, key = fields
    if not _NAME.fullmatch(name):
        raise KeysError(f"{where}: a name has 1 to 64 letters, digits, or any of _.-")
    if not _KEY.fullmatch(key):
        raise KeysError(f"{where}: a key has 16 to 512 letters, digits, or any of ._~+/-")
    return name, key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
