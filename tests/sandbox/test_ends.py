"""How programs end, and what they leave behind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from init.frames import Case
from init.outcome import Outcome

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("script", "outcome", "exit_code", "signal"),
    [
        ("exit 0", Outcome.OK, 0, None),
        ("exit 3", Outcome.NONZERO_EXIT, 3, None),
        ("exit 255", Outcome.NONZERO_EXIT, 255, None),
        ("kill -9 $$", Outcome.SIGNALLED, 137, "SIGKILL"),
        ("kill -TERM $$", Outcome.SIGNALLED, 143, "SIGTERM"),
        ("kill -SEGV $$", Outcome.SIGNALLED, 139, "SIGSEGV"),
        ("exec python3 -c 'import os; os.abort()'", Outcome.SIGNALLED, 134, "SIGABRT"),
        ("python3 -c 'import os; os.abort()'; exit $?", Outcome.SIGNALLED, 134, "SIGABRT"),
        ("no-such-command", Outcome.NONZERO_EXIT, 127, None),
        ("if then", Outcome.NONZERO_EXIT, 2, None),
    ],
)
def test_end_is_told(sandbox, script, outcome, exit_code, signal):
    run = sandbox.run(script).run
    assert (run.outcome, run.exit_code, run.signal) == (outcome, exit_code, signal), run


def test_sigterm_that_is_ignored_does_not_outlive_the_wall_clock(sandbox):
    run = sandbox.run("trap '' TERM INT HUP; while :; do sleep 1; done", wall_seconds=0.5).run
    assert run.outcome == Outcome.WALL_TIME_LIMIT
    assert run.wall_seconds < 10


def test_background_process_does_not_hold_the_stage(sandbox):
    run = sandbox.run("sleep 60 & echo gone").run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"gone\n")
    assert run.wall_seconds < 20


def running(word):
    """Processes of this machine that have this word among their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if word.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(process.name)
    return found


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_background_process_that_left_its_session_is_dead_in_the_next_case(sandbox):
    """Looked for on the host: in the next case's jail nothing would be seen of it anyway."""
    left, here = (f"{word}-{uuid4().hex}" for word in ("left", "here"))
    script = (
        "if [ $1 = 1 ]; then python3 -c 'import os, time\n"
        f"if os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(600)' {left}; sleep 2\n"
        f"else exec python3 -c 'import time; time.sleep(5)' {here}; fi"
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sandbox.run, script, Case(args=("1",)), Case(args=("2",)))
        until(lambda: running(left))  # the control: it lives, and is found
        until(lambda: running(here))
        assert running(left) == []
        assert [run.outcome for run in answer.result().runs] == [Outcome.OK] * 2


def test_program_that_closes_its_stdout_is_waited_for(sandbox):
    run = sandbox.run("exec >&- 2>&-; sleep 0.3; exit 4").run
    assert (run.outcome, run.exit_code) == (Outcome.NONZERO_EXIT, 4)
    assert run.wall_seconds >= 0.3


def test_zombies_are_reaped_in_the_jail(sandbox):
    script = (
        "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &) ; done; sleep 0.3; ls -d /proc/[0-9]* | wc -l"
    )
    run = sandbox.run(script, processes=20).run
    assert int(run.stdout) <= 4  # the reaper, bash, ls, wc


def test_binary_output_comes_back_as_it_was(sandbox):
    script = "exec python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 100)'"
    assert sandbox.run(script).run.stdout == bytes(range(256)) * 100


def test_shell_that_can_not_start_is_our_error_and_no_verdict(sandbox):
    profile = sandbox.profile.replace(b"/bin/bash", b"/gone/bash")
    run = sandbox.run("echo hi", profile=profile).run
    assert run.outcome == Outcome.SANDBOX_ERROR
    assert run.message


def test_shell_without_a_bash_in_its_closure_is_told(sandbox):
    profile = sandbox.profile.replace(b"/nix/store/", b"/elsewhere/")
    answer = sandbox.run("echo hi", profile=profile)
    assert answer.run.outcome == Outcome.SANDBOX_ERROR
    assert "bash" in answer.run.message
    answer = sandbox.run("echo hi", compile_script="echo", profile=profile)
    assert answer.compiled.outcome == Outcome.SANDBOX_ERROR
    assert answer.runs == []


def test_closure_that_can_not_be_mounted_is_our_error_with_nsjails_words(sandbox):
    closure = (*sandbox.closure, "/nix/store/0000000000000000000000000000000a-missing")
    run = sandbox.run("echo hi", closure=closure).run
    assert run.outcome == Outcome.SANDBOX_ERROR
    assert "missing" in run.message


def test_exit_255_of_the_program_is_a_verdict(sandbox):
    run = sandbox.run("exit 255").run
    assert run.outcome == Outcome.NONZERO_EXIT
