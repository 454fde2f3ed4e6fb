"""One line for each step of set-up, with the time that it took."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Progress:
    """Writes to a stream that is not stdout, because stdout is for results."""

    out: TextIO = sys.stderr

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say when a step took more than nothing; say it before when it fails."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self.out.write(f"{name}: failed after {time.monotonic() - began:.1f} s\n")
            raise
        self.out.write(f"{name}: {time.monotonic() - began:.1f} s\n")
        self.out.flush()
