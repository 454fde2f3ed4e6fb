"""Attacks on runs, tried afresh by who did not write the walls: each with its control."""

from __future__ import annotations

import pytest

from init.frames import Case
from init.outcome import Outcome

pytestmark = pytest.mark.integration

#: A case may read all of them and write to them, and all cases of a submission have the same nodes.
_TIMES = """#!/usr/bin/env python3
import os, sys
names = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
names += ["/proc/cmdline", "/etc/passwd", "/run/sandstream/reaper"]
word = 1_000_000_000
own = os.open("own", os.O_CREAT)
os.utime("own", (word, word))
print("own", os.stat("own").st_mtime == word)
before = {name: os.stat(name).st_mtime_ns for name in names}
for name in names:
    for times in (None, (word, word)):
        try:
            os.utime(name, times)
            print("set", name)
        except OSError:
            pass
print("changed", [name for name in names if os.stat(name).st_mtime_ns != before[name]])
"""


def test_case_leaves_no_word_in_the_times_of_what_all_cases_have(sandbox):
    for run in sandbox.run(_TIMES, Case(), Case()).runs:
        assert run.outcome == Outcome.OK, run.stderr.decode()
        assert run.stdout.decode().splitlines() == ["own True", "changed []"]


def test_devices_can_be_written_to_and_read(sandbox):
    """They are on read-only mounts, which a device does not mind."""
    run = sandbox.run(
        "echo gone > /dev/null && echo too >> /dev/zero && : < /dev/null\n"
        "head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c\n"
        "echo x > /dev/full || echo full\n",
        cpu_seconds=20,
    ).run
    assert run.stdout.decode().split() == ["3", "3", "full"], run.stderr.decode()


def test_program_can_not_take_back_the_proof_that_it_has_begun(sandbox):
    """Its own failure would be taken for ours, and be tried again."""
    script = (
        "for name in /proc/1/fd/3 /proc/self/fd/1; do\n"
        "  if { exec 9<>$name; } 2>/dev/null; then echo opened $name; fi\n"
        "  read -t 0.01 -N 1 -u 9 byte 2>/dev/null\n"
        "done\n"
        "exit 3\n"
    )
    for run in sandbox.run(script, *[Case()] * 12, at_once=4, cpu_seconds=30).runs:
        assert run.outcome == Outcome.NONZERO_EXIT, run.message
        assert b"/proc/1/fd/3" not in run.stdout
