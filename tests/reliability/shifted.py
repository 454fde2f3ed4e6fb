"""`python -m tests.reliability.shifted FILE SERVICE`: a service whose wall clock is wrong.

By as many seconds as FILE says, at each look anew: so a test can set the clock of a running
process forward and back, and the machine's stays as it is. The monotonic clock is right, as it is
after any such jump. `tests/unit/structure/test_clocks.py` holds that these are all the wall clocks.
"""

from __future__ import annotations

import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from streams import events


def main() -> None:
    file, service = Path(sys.argv[1]), sys.argv[2]
    right, right_ns = time.time, time.time_ns

    def shift() -> float:
        return float(file.read_text() or 0)

    class Clock:
        @staticmethod
        def now(zone) -> datetime:
            return datetime.now(zone) + timedelta(seconds=shift())

    events.datetime = Clock
    time.time = lambda: right() + shift()
    time.time_ns = lambda: right_ns() + int(shift() * 1e9)
    sys.argv = [service]
    runpy.run_module(service, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
