"""The passwords of the event log's users, each in a file that its reader alone can read.

An environment is no place for them: /proc shows it to every process of the same user, and
`docker inspect` to whoever may ask the engine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandstream.state import State
from streams import files
from streams.connection import secret
from streams.rights import ADMIN, USERS

PASSWORD: Final = "SANDSTREAM_NATS_PASSWORD"  # noqa: S105 - the variable's name
PASSWORD_FILE: Final = "SANDSTREAM_NATS_PASSWORD_FILE"  # noqa: S105
VARIABLES: Final = frozenset({PASSWORD, PASSWORD_FILE})
NAMES: Final = (*(user.name for user in USERS), ADMIN)
_MODE: Final = 0o600


def write(state: State, passwords: Mapping[str, str], owners: Mapping[str, int]) -> None:
    """A file for each user, owned by us unless `owners` names another uid."""
    state.passwords.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        _write(state.passwords / name, passwords[name], owners.get(name, os.geteuid()))


def of(ours: Mapping[str, str]) -> dict[str, str]:
    """What they say of a password, and nothing else."""
    return {name: ours[name] for name in VARIABLES & ours.keys()}


def handed(
    ours: Mapping[str, str], file: Path, uid: int, seen_at: str | None = None
) -> dict[str, str]:
    """Settings with which another process reads the password that ours name.

    It goes to `file`, owned by `uid`, which that process sees at `seen_at`. Raises ValueError.
    """
    settings = {name: value for name, value in ours.items() if name not in VARIABLES}
    password = ours.get(PASSWORD)
    if named := ours.get(PASSWORD_FILE):
        password = secret(Path(named))
    if password is None:
        return settings
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, password, uid)
    return {**settings, PASSWORD_FILE: seen_at or str(file)}


def lend(original: Path, copy: Path, uid: int) -> None:
    """A copy that `uid` owns; others may do with it what they may with the original."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(original.stat().st_mode)
    files.keep(copy, original.read_bytes(), mode=mode, uid=uid)


def _write(file: Path, password: str, uid: int) -> None:
    """Only root can give a file away; others keep theirs."""
    owner = uid if os.geteuid() == 0 else None
    files.keep(file, password.encode(), mode=_MODE, uid=owner)
