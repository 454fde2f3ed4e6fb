"""A program never outlives who watches its limits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

WATCHED = """
import sys
from init import process
from init.limits import Stage, defaults

class Group:
    def attach(self): pass
    def cpu_seconds(self): return 0.0
    def oom_kills(self): return 0
    def kill(self): pass

argv = ["/bin/sh", "-c", "echo $$ >%s; exec sleep 90" % sys.argv[1]]
process.run(argv, defaults(Stage.COMPILE), Group())
"""


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(true, within=30.0):
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_program_dies_with_a_watcher_that_is_killed(tmp_path):
    told = tmp_path / "pid"
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", WATCHED, str(told)], cwd=root) as watcher:
        try:
            until(lambda: told.exists() and told.read_text().endswith("\n"))
            pid = int(told.read_text())
            assert running(pid)
        finally:
            watcher.kill()
    until(lambda: not running(pid))
