"""The shell around a program: what nix-shell would have set, and which interpreter runs."""

from __future__ import annotations

import json
import statistics

import pytest

from init.frames import Case
from init.outcome import Outcome
from tests.sandbox import store

pytestmark = pytest.mark.integration


def test_runs_see_what_compile_made(sandbox):
    answer = sandbox.run(
        "stat -c '%a %Y' tool; ./tool; ls -l link; [ one -ef two ] && echo same",
        compile_script="echo 'echo made' >tool; chmod 751 tool; touch -d @1000000000 tool\n"
        "ln -s tool link; echo x >one; ln one two",
    )
    lines = answer.run.stdout.decode().splitlines()
    assert lines[:2] == ["751 1000000000", "made"]
    assert lines[2].endswith("link -> tool")
    assert lines[3] == "same"


def test_failed_compile_is_reported_and_ends_the_job(sandbox):
    answer = sandbox.run("echo no", compile_script="echo error >&2; exit 1")
    assert (answer.compiled.outcome, answer.compiled.stderr) == (Outcome.NONZERO_EXIT, b"error\n")
    assert answer.runs == []


def test_every_case_is_run_in_order_with_its_own_input(sandbox):
    cases = [Case(stdin=str(n).encode(), args=(f"a {n}", "", "'\"$x\n")) for n in range(5)]
    runs = sandbox.run("cat; printf '|%s' \"$@\"", *cases).runs
    assert [run.stdout.decode() for run in runs] == [f"{n}|a {n}||'\"$x\n" for n in range(5)]


def test_shell_hook_runs_before_compile_and_before_each_run(sandbox):
    profile = store.profile(shellHook="export GREETING='from the hook'; helper() { :; }")
    answer = sandbox.run(
        "echo $GREETING", Case(), Case(), compile_script="echo $GREETING", profile=profile
    )
    assert [r.stdout for r in (answer.compiled, *answer.runs)] == [b"from the hook\n"] * 3


def test_shell_hook_is_under_the_limits_of_its_stage(sandbox):
    profile = store.profile(shellHook="sleep 60")
    assert sandbox.run("echo", profile=profile, wall_seconds=0.3).run.outcome == (
        Outcome.WALL_TIME_LIMIT
    )


def test_shell_hook_that_exits_ends_the_stage_with_its_code(sandbox):
    run = sandbox.run("echo no", profile=store.profile(shellHook="exit 7")).run
    assert (run.outcome, run.exit_code, run.stdout) == (Outcome.NONZERO_EXIT, 7, b"")


def test_shell_hook_that_fails_does_not_stop_the_script(sandbox):
    run = sandbox.run("echo yes", profile=store.profile(shellHook="false; no-such-thing")).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"yes\n")


def test_variables_arrive_as_they_are(sandbox):
    values = {"MULTI": "one\ntwo\n", "QUOTES": "a'b\"c$d`e\\f", "EQUALS": "a=b=c", "EMPTY": ""}
    script = b"#!/usr/bin/env python3\nimport json, os\nprint(json.dumps(dict(os.environ)))"
    run = sandbox.run(script, profile=store.profile(**values, TMPDIR="/host", HOME="/host")).run
    seen = json.loads(run.stdout)
    assert {name: seen[name] for name in values} == values
    assert seen["PATH"] == f"{store.SHELL}/bin"
    assert (seen["HOME"], seen["TMPDIR"]) == ("/home/user", "/tmp")
    assert (seen["IN_NIX_SHELL"], seen["SHELL"]) == ("impure", f"{store.SHELL}/bin/bash")
    assert not [name for name in seen if "SANDSTREAM" in name.upper() or name == "PYTHONPATH"]


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo ${BASH_VERSION:+bash}", b"bash\n"),
        ("#!/bin/bash\necho ${BASH_VERSION:+bash}", b"bash\n"),  # not in the jail: the shell's
        ("#!/usr/bin/env python3\nprint('python')", b"python\n"),
        (f"#!{store.SHELL}/bin/python3\nprint('direct')", b"direct\n"),
        ("#! /bin/sh\necho sh $0", b"sh /work/run.sh\n"),
    ],
)
def test_interpreter_is_the_shells_bash_or_what_the_script_names(sandbox, script, output):
    assert sandbox.run(script).run.stdout == output


def test_files_in_folders_arrive(sandbox):
    files = {"src/a/b.txt": b"deep\n", "src/c.txt": bytes(range(256))}
    run = sandbox.run("cat src/a/b.txt; wc -c <src/c.txt; stat -c %a run.sh src/c.txt", files=files)
    assert run.run.stdout == b"deep\n256\n644\n644\n"


def test_sockets_on_loopback_work(sandbox):
    script = (
        b"#!/usr/bin/env python3\nimport socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        b"c = socket.create_connection(s.getsockname()); s.accept()[0].send(b'hi')\n"
        b"print(c.recv(2))"
    )
    assert sandbox.run(script).run.stdout == b"b'hi'\n"


def test_a_trivial_run_costs_less_than_40_ms_of_cpu_time(sandbox):
    # CPU time, as the clock depends on what else this machine does
    runs = sandbox.run("echo", *[Case()] * 20).runs
    assert statistics.median(run.cpu_seconds for run in runs) < 0.04
