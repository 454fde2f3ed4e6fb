"""Who looks at the wall clock, which may jump: nobody who counts a lease or a limit by it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVICES = ("api", "builder", "init", "projector", "streams", "worker")
#: Events carry the time, and ids begin with it; files have times of the same clock: those that a
#: stage wrote, and an environment's last use.
ALLOWED = {
    ("streams/events.py", "datetime.now"),
    ("api/ids.py", "time.time_ns"),
    ("init/stage.py", "time.time_ns"),
    ("builder/collect.py", "time.time"),
    ("builder/private.py", "time.time"),
    ("builder/provide.py", "time.time"),
    ("builder/shells.py", "time.time"),
}
WALL = {"datetime.now", "datetime.utcnow", "datetime.today", "time.time", "time.time_ns"}


def calls(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_the_wall_clock_is_read_where_it_is_told_and_nowhere_else():
    found = {
        (str(file.relative_to(ROOT)), call)
        for service in SERVICES
        for file in (ROOT / service).rglob("*.py")
        for call in calls(file) & WALL
    }
    assert found == ALLOWED
