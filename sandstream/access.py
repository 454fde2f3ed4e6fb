"""`sandstream env USER`: how another program reaches the running system's event log."""

from __future__ import annotations

from shlex import quote

from sandstream.credentials import PASSWORD
from sandstream.eventlog import EventLogServer, known
from sandstream.state import State


def lines(state: State, user: str) -> str:
    """`export` lines for a shell: the password's file, not the password. Raises NotRunningError."""
    log = EventLogServer(state.events(), known(state), state.passwords)
    exports = (f"export {name}={quote(value)}" for name, value in log.env(user).items())
    return "\n".join((*exports, f"unset {PASSWORD}"))
