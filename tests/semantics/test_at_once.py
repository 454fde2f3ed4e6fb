"""Cases that run at the same time are told, measured and kept apart as if each were alone."""

from __future__ import annotations

import json

import pytest

from init.frames import Case, RunDone
from init.limits import MIB
from init.outcome import Outcome
from tests.semantics.test_isolation import _LIBC, _PYTHON, _WORDS

pytestmark = pytest.mark.integration

_FOUR = [Case(args=(str(n),)) for n in range(4)]


def test_they_do_run_at_the_same_time(sandbox):
    """Each says when it began and ended, by a clock that all share."""
    clock = "python3 -c 'import time; print(time.monotonic())'"
    runs = sandbox.run(f"{clock}; sleep 2; {clock}", *_FOUR, at_once=4, wall_seconds=600).runs
    spans = [tuple(map(float, run.stdout.split())) for run in runs]
    assert max(began for began, _ in spans) < min(ended for _, ended in spans), spans


def test_first_is_told_first_though_it_ends_last(sandbox):
    answer = sandbox.run("[ $1 = 0 ] && sleep 1; echo $1", *_FOUR, at_once=4, wall_seconds=600)
    told = [frame for frame in answer.frames if isinstance(frame, RunDone)]
    assert [(done.case, done.report.stdout) for done in told] == [
        (n, b"%d\n" % n) for n in range(4)
    ]


def test_each_meets_its_own_limit_and_no_other(sandbox):
    programs = {
        Outcome.WALL_TIME_LIMIT: "sleep 60",
        Outcome.OK: "sleep 3",
        Outcome.MEMORY_LIMIT: "exec python3 -c 'bytearray(200 << 20)'",
        Outcome.STDOUT_LIMIT: "exec yes",
        Outcome.DISK_LIMIT: "for i in 1 2 3 4 5 6; do head -c 900000 /dev/zero >$i || exit; done",
        Outcome.FILE_SIZE_LIMIT: "exec dd if=/dev/zero of=a bs=1M count=2",
        Outcome.PROCESS_LIMIT: "for i in $(seq 30); do sleep 60 & done; exit 1",
        Outcome.SIGNALLED: "kill -SEGV $$",
        Outcome.NONZERO_EXIT: "exit 1",
    }  # fmt: skip
    files = {f"p{n}": text.encode() for n, text in enumerate(programs.values())}
    runs = sandbox.run(
        ". ./p$1", *[Case(args=(str(n),)) for n in range(len(programs))], files=files, at_once=9,
        memory_bytes=64 * MIB, processes=16, disk_bytes=4 * MIB, file_size_bytes=MIB,
        wall_seconds=20,
    ).runs  # fmt: skip
    assert [run.outcome for run in runs] == list(programs), runs


def test_figures_are_each_ones_own(sandbox):
    script = (
        "exec python3 -c 'import sys, time\n"
        "n = int(sys.argv[1]); x = bytearray(n * 40 << 20)\n"
        "while time.process_time() < n * 0.6: pass\n"
        "print(time.process_time())' $1"
    )
    # side by side on a busy machine: the clock is not what is measured here
    runs = sandbox.run(script, *_FOUR, at_once=4, memory_bytes=512 * MIB, wall_seconds=600).runs
    assert [run.outcome for run in runs] == [Outcome.OK] * 4, runs
    nothing, *others = runs
    for n, run in enumerate(others, start=1):
        burnt = float(run.stdout) - float(nothing.stdout)
        counted = run.cpu_seconds - nothing.cpu_seconds
        assert abs(counted - burnt) <= 0.1 * burnt, (n, run)
        known = nothing.memory_peak_bytes + n * 40 * MIB
        assert abs(run.memory_peak_bytes - known) <= max(0.05 * known, 2e6), (n, run)


def test_no_word_reaches_a_neighbour(sandbox):
    """Three of each kind: the first has left its word, and lives, when the others look."""
    files = {
        f"way{n}": (
            f"{_PYTHON}{_LIBC}import time\ntime.sleep(0.2 * int(sys.argv[1]))\n{text}\n"
            "sys.stdout.flush()\ntime.sleep(0.7 - 0.2 * int(sys.argv[1]))"
        ).encode()
        for n, text in enumerate(_WORDS.values())
    }
    cases = [Case(args=(str(way), str(n))) for way in range(len(_WORDS)) for n in range(3)]
    runs = sandbox.run(
        # unbuffered: whoever forks must not say again what was said before
        "mv way$1 /tmp/way; rm -f way*; exec python3 -u /tmp/way $2", *cases, at_once=3,
        files=files, wall_seconds=600, compile_script="echo kept >made; chmod 640 made",
    ).runs  # fmt: skip
    told = {way: runs[3 * n : 3 * n + 3] for n, way in enumerate(_WORDS)}
    for way, (first, *others) in told.items():
        assert first.outcome == Outcome.OK, (way, first)
        assert first.stdout, way
        assert [run.stdout for run in others] == [first.stdout] * 2, way


def test_what_is_shown_of_a_case_is_shown_to_no_other(sandbox):
    """Its arguments, its input, its processes, its files: searched for in all that is there."""
    script = _PYTHON + (
        "import json, os, sys, time\n"
        "own = sys.argv[1]\n"
        "for folder in ('.', '/tmp', '/dev/shm', os.environ['HOME']):\n"
        "    open(f'{folder}/{own}', 'w').write(own)\n"
        "time.sleep(1)\n"
        "seen = set()\n"
        "for top in ('/work', '/tmp', '/dev/shm', '/home', '/run', '/etc', '/proc'):\n"
        "    for path, folders, files in os.walk(top):\n"
        "        folders[:] = [f for f in folders if not f.startswith(('sys', 'irq', 'bus'))]\n"
        "        for name in files:\n"
        "            seen.add(name)\n"
        "            try: fd = os.open(f'{path}/{name}', os.O_RDONLY | os.O_NONBLOCK)\n"
        "            except OSError: continue\n"
        "            try: seen.add(os.read(fd, 65536).decode('latin-1'))\n"
        "            except OSError: pass\n"
        "            finally: os.close(fd)\n"
        "words = ['secret-%d' % n for n in range(3)]\n"
        "print(json.dumps([w for w in words if any(w in text for text in seen)]))\n"
        "time.sleep(1)\n"
    )
    cases = [Case(stdin=b"secret-%d" % n, args=(f"secret-{n}",)) for n in range(3)]
    runs = sandbox.run(script, *cases, at_once=3, wall_seconds=600, cpu_seconds=30).runs
    assert [run.outcome for run in runs] == [Outcome.OK] * 3, runs
    assert [json.loads(run.stdout) for run in runs] == [[f"secret-{n}"] for n in range(3)]


def test_flood_of_one_leaves_the_others_whole(sandbox):
    script = (
        "case $1 in 0) bomb() { bomb | bomb & }; bomb; wait; exit 1;;"
        " 1) exec yes;; 2) exec python3 -c 'bytearray(400 << 20)';; *) sleep 1; echo whole;; esac"
    )
    *_, last = sandbox.run(
        script, *_FOUR, at_once=4, processes=40, memory_bytes=64 * MIB, wall_seconds=20
    ).runs
    assert (last.outcome, last.stdout) == (Outcome.OK, b"whole\n"), last


def test_failed_sandbox_of_one_case_is_told_as_every_failure_of_ours(sandbox):
    profile = sandbox.profile.replace(b"/bin/bash", b"/gone/bash")
    runs = sandbox.run("echo hi", *_FOUR, at_once=4, profile=profile).runs
    assert [run.outcome for run in runs] == [Outcome.SANDBOX_ERROR] * 4
