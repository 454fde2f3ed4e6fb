"""`sandstream env USER`: how another program reaches the running system's event log."""

from __future__ import annotations

from shlex import quote
from typing import Final

from sandstream.eventlog import EventLogServer
from sandstream.state import State
from streams.rights import ADMIN, USERS
from streams.server import passwords

NAMES: Final = (*(user.name for user in USERS), ADMIN)


def lines(state: State, user: str) -> str:
    """`export` lines for a shell, with that user's password. Raises NotRunningError."""
    log = EventLogServer(state.events(), passwords(state.secrets))
    exports = (f"export {name}={quote(value)}" for name, value in log.env(user).items())
    return "\n".join(exports)
