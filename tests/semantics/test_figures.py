"""The figures of a stage beside programs that burn a known amount: CPU within 10 %, memory within
5 % or 2 MB."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome
from tests.builder.test_uncached import dependencies
from tests.sandbox import store

pytestmark = pytest.mark.integration

_PYTHON = "#!/usr/bin/env python3\n"
#: Ends by printing what the kernel counted for the process itself.
_SAY = (
    "import json, resource\n"
    "def say(who=resource.RUSAGE_SELF):\n"
    "    used = resource.getrusage(who)\n"
    "    print(json.dumps([used.ru_utime, used.ru_stime]), flush=True)\n"
)
_USER = "import time\ndef burn(s):\n    while time.process_time() < s: sum(range(100000))\n"
_SYSTEM = (
    "import os, time\ndef burn(s):\n"
    "    zero = open('/dev/zero', 'rb', 0); room = bytearray(8 << 20)\n"
    "    while time.process_time() < s: zero.readinto(room)\n"
)


def near(measured, known, within=0.1):
    assert abs(measured - known) <= within * known, (measured, known)


@pytest.mark.parametrize("kind", [_USER, _SYSTEM])
def test_cpu_time_is_what_the_program_burnt_in_user_and_in_system(sandbox, kind):
    run = sandbox.run(_PYTHON + _SAY + kind + "burn(1.5)\nsay()", wall_seconds=60).run
    assert run.outcome == Outcome.OK, run
    user, system = json.loads(run.stdout)
    near(run.cpu_seconds, user + system)
    assert run.cpu_user_seconds + run.cpu_system_seconds == pytest.approx(run.cpu_seconds)
    # the division is sampled by the tick, in the kernel's figure as in ours
    assert abs(run.cpu_user_seconds - user) <= 0.1 * (user + system), (run, user, system)
    assert abs(run.cpu_system_seconds - system) <= 0.1 * (user + system), (run, user, system)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "threads",
            (
                "from concurrent.futures import ThreadPoolExecutor\n"
                "with ThreadPoolExecutor(4) as pool:\n"
                "    list(pool.map(lambda _: burn(1.5), range(4)))\n"
            ),
        ),
        (
            "children that are waited for",
            (
                "import os\n"
                "for i in range(3):\n"
                "    if os.fork() == 0: burn(0.5); os._exit(0)\n"
                "for i in range(3): os.wait()\n"
                "say(resource.RUSAGE_CHILDREN)\n"
                "say()\n"
            ),
        ),
        (
            "a child that nobody waits for, killed with the stage",
            (
                "import os, signal\nr, w = os.pipe()\n"
                "if os.fork() == 0: burn(1.5); say(); os.write(w, b'x'); signal.pause()\n"
                "os.read(r, 1)\n"
                "say()\n"
            ),
        ),
    ],
)
def test_cpu_time_of_the_whole_tree_counts(sandbox, name, text):
    run = sandbox.run(_PYTHON + _SAY + _USER + text, wall_seconds=60).run
    assert run.outcome == Outcome.OK, (name, run)
    # the parent's too: on a busy machine an interpreter that only starts takes a tenth of a second
    said = [sum(json.loads(line)) for line in run.stdout.splitlines()]
    near(run.cpu_seconds, sum(said) if said else 1.5)


def test_sleep_costs_no_cpu_time(sandbox):
    run = sandbox.run("sleep 1").run
    assert run.cpu_seconds < 0.3
    assert run.wall_seconds >= 1.0


_HOGS = {
    "anonymous": "exec dd if=/dev/zero of=/dev/null count=1 bs=$1",
    "a file in the work folder": "head -c $1 /dev/zero >f",
    "a file in /dev/shm": "head -c $1 /dev/zero >/dev/shm/f",
    "freed before the end": (
        "dd if=/dev/zero of=/dev/null count=1 bs=$1 2>/dev/null; sleep 0.1; head -c 1000 /dev/zero"
    ),
    "four processes": (
        "for i in 1 2 3 4; do (dd if=/dev/zero count=1 bs=$(($1 / 4)) 2>/dev/null"
        " | { sleep 0.7; head -c 1 >/dev/null; sleep 0.3; }) & done; wait"
    ),
}


@pytest.mark.parametrize("hog", _HOGS)
def test_memory_peak_is_what_the_program_took(sandbox, hog):
    amounts = (4096, 48 * MIB, 160 * MIB)
    runs = sandbox.run(
        _HOGS[hog], *[Case(args=(str(amount),)) for amount in (4096, *amounts)],
        disk_bytes=512 * MIB, file_size_bytes=512 * MIB, memory_bytes=512 * MIB, wall_seconds=30,
    ).runs  # fmt: skip
    assert {run.outcome for run in runs} == {Outcome.OK}
    _, nothing, *others = (run.memory_peak_bytes for run in runs)
    for amount, peak in zip(amounts[1:], others, strict=True):
        known = nothing + amount
        assert abs(peak - known) <= max(0.05 * known, 2e6), (hog, peak / MIB, known / MIB)


_BURN = (
    "import sys, time\nx = bytearray(int(sys.argv[2]) << 20)\n"
    "while time.process_time() < float(sys.argv[1]): pass\n"
)


def known_amounts(nothing, burnt, seconds: float, mib: int) -> None:
    """`burnt` took so much more than `nothing` did."""
    near(burnt.cpu_seconds - nothing.cpu_seconds, seconds)
    both = burnt.cpu_user_seconds + burnt.cpu_system_seconds
    assert both == pytest.approx(burnt.cpu_seconds)
    known = nothing.memory_peak_bytes + mib * MIB
    assert abs(burnt.memory_peak_bytes - known) <= max(0.05 * known, 2e6), (burnt, known)
    assert burnt.wall_seconds > 0


def test_figures_of_compile_are_those_of_what_it_burnt(sandbox):
    def compiled(seconds: float, mib: int):
        script = f"exec python3 -c '{_BURN}' {seconds} {mib}"
        limits = {"wall_seconds": 120}
        return sandbox.run("true", compile_script=script, compile_limits=limits).compiled

    known_amounts(compiled(0, 0), compiled(1.5, 100), 1.5, 100)


_BUILD = """{ pkgs ? import <nixpkgs> {} }:
pkgs.mkShell {
  packages = [ pkgs.python3 ];
  built = pkgs.runCommand "burn-%s" { } ''${pkgs.python3}/bin/python3 -c '%s' %s %s; touch $out'';
}
"""


def test_figures_of_a_build_in_the_container_are_those_of_what_it_burnt(uncached):
    def built(seconds: float, mib: int):
        shell = _BUILD % (uuid.uuid4().hex, _BURN, seconds, mib)
        return dependencies(uncached.submit(shell)).report

    known_amounts(built(0, 0), built(1.5, 100), 1.5, 100)


async def test_figures_of_a_builders_build_are_those_of_what_it_burnt(builder):
    nothing, burnt = [
        (await builder.build(_BUILD % (uuid.uuid4().hex, _BURN, *amounts))).dependencies
        for amounts in ((0, 0), (1.5, 100))
    ]
    known_amounts(nothing, burnt, 1.5, 100)


def test_memory_of_a_trivial_run_is_small(sandbox):
    runs = sandbox.run("echo", *[Case()] * 5).runs
    assert max(run.memory_peak_bytes for run in runs) < 4 * MIB


def forget(folder: Path) -> int:
    """Have the kernel drop the cache of these files; how many bytes they are."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            total += os.fstat(fd).st_size
            os.close(fd)
    return total


def test_who_reads_a_store_path_first_is_not_charged_for_it(sandbox):
    """The cache of files on a disk goes to whoever came first: no figure may depend on that."""
    read = f"exec cat {store.SHELL}/bin/* {store.SHELL}/lib/lib* >/dev/null"
    size = forget(sandbox.store)
    assert size > 20 * MIB
    cold, warm, again = sandbox.run(read, *[Case()] * 3).runs
    assert cold.outcome == warm.outcome == Outcome.OK
    assert abs(cold.memory_peak_bytes - warm.memory_peak_bytes) < 2e6, (cold, warm)
    assert abs(again.memory_peak_bytes - warm.memory_peak_bytes) < 2e6, (again, warm)


def test_cache_of_files_is_no_reason_for_a_memory_limit(sandbox):
    """Reading more than fits is not taking more than is allowed: the kernel lets go of it."""
    forget(sandbox.store)
    read = f"exec cat {store.SHELL}/bin/* {store.SHELL}/lib/lib* >/dev/null"
    assert sandbox.run(read, memory_bytes=12 * MIB).run.outcome == Outcome.OK
