"""SIGKILL for one process. To pid 0, which is what an engine says of a container that is no more,
it would be for our own group: the tests, their make, and whoever reads them."""

from __future__ import annotations

import os
import signal


def kill(pid: int) -> None:
    """ProcessLookupError when there is no such process, 0 included."""
    if pid <= 0:
        raise ProcessLookupError(f"no process has the id {pid}")
    os.kill(pid, signal.SIGKILL)
