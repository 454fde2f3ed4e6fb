"""The environment is the one that nix-shell would give, in compile and in each run."""

from __future__ import annotations

import json
import uuid

import pytest

from init.frames import Case, RunDone
from init.outcome import Outcome
from tests.builder.test_uncached import dependencies
from tests.sandbox import store

pytestmark = pytest.mark.integration

_DUMP = "#!/usr/bin/env python3\nimport json, os\nprint(json.dumps(dict(os.environ)))"
_VALUES = {
    "MULTI": "one\ntwo\n\nfour\n",
    "EQUALS": "a=b==c=",
    "QUOTES": "a'b\"c`d`$e\\f!g",
    "SPACES": "  two  spaces\tand a tab ",
    "UNICODE": "žluťoučký 🐎 \u202e",
    "GLOB": "* ? [a-z] ~ {1,2}",
    "SUBSTITUTION": "$(exit 1) ${HOME} <(x) >&2; #",
    "EMPTY": "",
}


def profile(variables=None, functions=None, **exported):
    known = json.loads(store.profile(**exported))
    known["variables"] |= variables or {}
    known["bashFunctions"] = functions or {}
    return json.dumps(known).encode()


def both(sandbox, script, **more):
    """What `script` writes as compile.sh, and as run.sh in two cases."""
    answer = sandbox.run(script, Case(), Case(), compile_script=script, **more)
    return [answer.compiled, *answer.runs]


def test_values_arrive_byte_for_byte_in_every_stage(sandbox):
    for report in both(sandbox, _DUMP, profile=profile(**_VALUES)):
        seen = json.loads(report.stdout)
        assert {name: seen[name] for name in _VALUES} == _VALUES


def test_functions_arrays_and_what_is_not_exported(sandbox):
    shell = profile(
        variables={
            "list": {"type": "array", "value": ["a b", "c'd", "", "e\nf"]},
            "map": {"type": "associative", "value": {"k 1": "v=1", "k2": "v'2"}},
            "own": {"type": "var", "value": "not exported"},
            "never": {"type": "unknown"},
        },
        functions={
            "greet": "    printf '%s\\n' \"hello $1\"\n",
            "genericBuild": "    [[ $1 == @(a|b) ]] && echo extglob\n",
        },
    )
    script = (
        "printf '[%s]' \"${list[@]}\"; echo; echo \"${map['k 1']} ${map[k2]} $own\"\n"
        "greet world; genericBuild b; env | grep -c ^own="
    )
    # the script is sourced by no one: only `exec`ed, so what a process can't inherit is gone
    for report in both(sandbox, script, profile=shell):
        assert report.stdout.splitlines()[-1] == b"0"
    hook = shell.replace(b'"variables": {', b'"variables": {"shellHook": {"type": "exported", '
                         b'"value": "declare -p list map own >hook; greet world >>hook; '
                         b'genericBuild b >>hook"}, ')  # fmt: skip
    for report in both(sandbox, "cat hook", profile=hook):
        text = report.stdout.decode()
        assert '[1]="c\'d"' in text
        assert '[k2]="v\'2"' in text
        assert 'own="not exported"' in text
        assert text.endswith("hello world\nextglob\n")


def test_function_that_the_hook_exports_reaches_the_script(sandbox):
    hook = profile(shellHook="greet() { echo \"hi $1\"; }; export -f greet; export list='a b'")
    for report in both(sandbox, "greet you; echo $list", profile=hook):
        assert report.stdout == b"hi you\na b\n"


def test_hook_changes_path_variables_and_folder(sandbox):
    hook = profile(
        shellHook="mkdir -p /tmp/tools /tmp/else; printf '#!/bin/sh\\necho tool\\n' >/tmp/tools/t\n"
        "chmod +x /tmp/tools/t; export PATH=/tmp/tools:$PATH; unset GONE; export SET=1",
        GONE="x",
    )
    for report in both(sandbox, "t; echo ${GONE-unset} $SET", profile=hook):
        assert report.stdout == b"tool\nunset 1\n"


def test_hook_runs_once_for_each_stage_and_not_more(sandbox):
    hook = profile(shellHook="echo hook")
    assert [r.stdout for r in both(sandbox, "echo script", profile=hook)] == [b"hook\nscript\n"] * 3


@pytest.mark.parametrize(
    ("hook", "limits", "outcome"),
    [
        ("while :; do :; done", {"cpu_seconds": 0.5}, Outcome.CPU_TIME_LIMIT),
        ("while :; do sleep 1; done", {"wall_seconds": 1}, Outcome.WALL_TIME_LIMIT),
        ("yes", {"stdout_bytes": 1000}, Outcome.STDOUT_LIMIT),
        ("exec dd if=/dev/zero of=/dev/null bs=99M count=1", {"memory_bytes": 32 << 20},
         Outcome.MEMORY_LIMIT),
        ("exit 4", {}, Outcome.NONZERO_EXIT),
        ("kill -9 $$", {}, Outcome.SIGNALLED),
    ],
)  # fmt: skip
def test_hook_is_under_the_limits_of_its_stage(sandbox, hook, limits, outcome):
    shell = profile(shellHook=hook)
    in_compile = sandbox.run("echo", compile_script="echo", compile_limits=limits, profile=shell)
    assert in_compile.compiled.outcome == outcome, in_compile.compiled
    assert in_compile.runs == []
    assert sandbox.run("echo", profile=shell, **limits).run.outcome == outcome


def test_hook_that_breaks_off_in_the_middle_fails_as_its_bash_does(sandbox):
    for hook in ("set -e; false", "set -u; echo $no_such", "if then"):
        run = sandbox.run("echo yes", profile=profile(shellHook=hook)).run
        assert run.outcome in {Outcome.NONZERO_EXIT, Outcome.OK}, (hook, run)
        assert run.outcome is Outcome.OK or run.stdout == b"", (hook, run)


def test_path_has_only_the_store_in_it(sandbox):
    for report in both(sandbox, "echo $PATH; type -P ls"):
        path, ls = report.stdout.decode().splitlines()
        assert all(folder.startswith("/nix/store/") for folder in path.split(":"))
        assert ls.startswith("/nix/store/")


def test_home_and_tmp_are_writable_and_empty_in_every_stage(sandbox):
    script = (
        "for d in $HOME $TMPDIR $TMP $TEMP $TEMPDIR /tmp /dev/shm; do ls -A $d; done\n"
        "echo x >$HOME/left; echo x >$TMPDIR/left; echo x >/dev/shm/left; echo $HOME $TMPDIR"
    )
    assert [r.stdout for r in both(sandbox, script)] == [b"/home/user /tmp\n"] * 3


def test_files_of_compile_are_in_every_run_with_their_modes_and_times(sandbox):
    script = "stat -c '%a %Y %s' made folder/deep; cat folder/deep; rm -r made folder"
    answer = sandbox.run(
        script, Case(), Case(),
        compile_script="umask 0; echo 1 >made; mkdir -m 711 folder; echo deep >folder/deep\n"
        "chmod 640 made; touch -d @1234567890 made folder/deep",
    )  # fmt: skip
    expected = b"640 1234567890 2\n666 1234567890 5\ndeep\n"
    assert [run.stdout for run in answer.runs] == [expected] * 2


def test_submitted_files_have_plain_modes_and_scripts_can_be_executed(sandbox):
    files = {"tool": b"#!/bin/sh\necho tool", "data": b"x"}
    run = sandbox.run("stat -c %a data tool; umask; ./tool", files=files).run
    assert run.stdout == b"644\n755\n0022\ntool\n"


def test_arguments_arrive_as_any_bytes_that_a_shell_can_pass(sandbox):
    args = ("", " ", "a b", "'", '"', "\\", "$x", "`x`", "*", "\n", "\x01\x7f", "ž🐎", "-n", "--")
    script = "#!/usr/bin/env python3\nimport json, sys\nprint(json.dumps(sys.argv[1:]))"
    assert json.loads(sandbox.run(script, Case(args=args)).run.stdout) == list(args)
    by_bash = sandbox.run("printf '%s\\0' \"$@\"", Case(args=args)).run.stdout
    assert by_bash.decode().split("\0")[:-1] == list(args)
    raw = "\udcff\udcfe"  # bytes that are no UTF-8, as Python carries them
    assert sandbox.run('printf %s "$1"', Case(args=(raw,))).run.stdout == b"\xff\xfe"


def test_real_shell_gives_its_values_and_runs_its_hook(uncached):
    text = (
        "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell {\n"
        "  packages = [ pkgs.python3 ];\n"
        '  EQUALS = "a=b=c"; QUOTES = "a\'b\\"c"; UNICODE = "ž"; SPACES = " a  b ";\n'
        "  MULTI = ''\n    one\n    two\n  '';\n"
        '  LIST = [ "a" "b" ]; YES = true; NUMBER = 3;\n'
        '  shellHook = \'\'export HOOK="$EQUALS from hook"; say() { echo "said $1"; }; '
        "export -f say'';\n"
        f'  salt = "{uuid.uuid4().hex}";\n}}'
    )
    answer = uncached.submit(text, run=f"say it\nexec python3 -c '{_DUMP.partition(chr(10))[2]}'")
    assert dependencies(answer).report.outcome == Outcome.OK, dependencies(answer)
    (run,) = (frame.report for frame in answer.frames if isinstance(frame, RunDone))
    said, _, dumped = run.stdout.decode().partition("\n")
    seen = json.loads(dumped)
    assert said == "said it"
    assert seen["HOOK"] == "a=b=c from hook"
    expected = {
        "EQUALS": "a=b=c", "QUOTES": "a'b\"c", "UNICODE": "ž", "SPACES": " a  b ",
        "MULTI": "one\ntwo\n", "LIST": "a b", "YES": "1", "NUMBER": "3",
        "IN_NIX_SHELL": "impure", "HOME": "/home/user", "TMPDIR": "/tmp",
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == expected
    assert all(folder.startswith("/nix/store/") for folder in seen["PATH"].split(":"))
