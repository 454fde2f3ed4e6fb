"""The cgroups that the host gives the builder's container once it runs: a file that appears."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from init.frames import Delegated
from init.wire import Decoder

_WAIT_SECONDS: Final = 30.0


def delegated(file: Path) -> Delegated:
    """Wait for them. Raises TimeoutError. Blocks."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if file.exists():
            for frame in Decoder().feed(file.read_bytes()):
                if isinstance(frame, Delegated):
                    return frame
        time.sleep(0.01)
    raise TimeoutError(f"nobody delegated cgroups to us: no {file}")
