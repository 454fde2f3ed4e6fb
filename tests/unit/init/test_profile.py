"""The generated script, read by a real bash."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from init.profile import ProfileError, entry, interpreter, parse, quote, script

BASH = shutil.which("bash")


def profile(variables=None, functions=None) -> bytes:
    told = {"BASH": {"type": "var", "value": BASH}} | (variables or {})
    return json.dumps({"variables": told, "bashFunctions": functions or {}}).encode()


def bash(variables, command, functions=None, **kwargs) -> str:
    """What `command` prints after the script."""
    text = script(parse(profile(variables, functions)), BASH) + command
    done = subprocess.run(
        [BASH, "-s"], input=text.encode(), capture_output=True, check=False, env={}, **kwargs
    )
    assert not done.stderr, (done.stderr, text)
    return done.stdout.decode()


def exported(value: str) -> dict:
    return {"type": "exported", "value": value}


@pytest.mark.parametrize(
    "value",
    ["", "a b", "a=b", "one\ntwo\n", "'", "'\\''", '"$HOME`id`\\', "\t*?[~", "!x", "é\u2028"],
)
def test_value_arrives_as_it_is(value):
    assert bash({"X": exported(value)}, 'printf %s "$X"') == value


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_arrives_as_it_is(value):
    assert bash({"X": exported(value)}, 'printf %s "$X"') == value


def test_only_exported_variables_reach_a_child():
    variables = {"IN": exported("1"), "OUT": {"type": "var", "value": "2"}}
    command = "echo $IN$OUT; $BASH -c 'echo $IN$OUT'"
    assert bash(variables, command) == "12\n1\n"


def test_arrays_arrive():
    variables = {
        "LIST": {"type": "array", "value": ["a b", "'", "$x"]},
        "MAP": {"type": "associative", "value": {"k 1": "v'1", "]": "x"}},
        "NOT": {"type": "unknown"},
    }
    command = 'printf "%s|" "${LIST[@]}" "${MAP[k 1]}" "${#MAP[@]}" "${NOT-unset}"'
    assert bash(variables, command) == "a b|'|$x|v'1|2|unset|"


def test_functions_arrive_with_what_only_parses_extended():
    functions = {
        "greet": '    echo "hello $1"',
        "ext": "    case $1 in !(a)) echo other;; esac",
        "bad;name": "    echo no",
    }
    assert bash({}, "greet you; declare -F ext; shopt -q extglob || echo off", functions) == (
        "hello you\next\noff\n"
    )


def test_what_nix_skips_is_skipped():
    skipped = ["HOME", "TMPDIR", "TMP", "SHELL", "NIX_BUILD_TOP", "TERM", "UID", "PPID", "BASHOPTS"]
    variables = {name: exported("/from-the-build") for name in skipped}
    output = bash(variables, "declare -p " + " ".join(skipped[:5]))
    assert "/from-the-build" not in output
    assert 'HOME="/home/user"' in output


def test_read_only_variables_raise_no_complaint():
    names = ["EUID", "BASH_VERSINFO", "SHELLOPTS", "PPID", "UID", "BASHPID", "_", "FUNCNAME"]
    bash({name: exported("1") for name in names}, "")


def test_path_is_the_environments_alone():
    assert bash({"PATH": exported("/nix/store/x/bin")}, "echo $PATH") == "/nix/store/x/bin\n"


def test_shell_hook_runs_last_and_sees_functions():
    variables = {"shellHook": exported("greet; X=$X-hook"), "X": exported("x")}
    assert bash(variables, "echo $X", {"greet": "    echo greeted"}) == "greeted\nx-hook\n"


def test_run_hook_of_stdenv_is_preferred():
    variables = {"shellHook": exported("echo no")}
    assert bash(variables, "", {"runHook": '    echo "runHook $1"'}) == "runHook shellHook\n"


def test_hook_that_fails_goes_on():
    assert bash({"shellHook": exported("false")}, "echo on") == "on\n"


def test_bash_is_the_first_that_lies_in_the_closure():
    told = {
        "BASH": {"type": "var", "value": "/bin/bash"},  # as a bash without a full argv[0] says
        "SHELL": exported("/nix/store/zsh/bin/zsh"),
        "CONFIG_SHELL": exported("/nix/store/y/bin/bash"),
        "builder": exported("/nix/store/x/bin/bash"),
    }
    known = parse(profile(told))
    assert known.bash(["/nix/store/x", "/nix/store/y", "/nix/store/zsh"]) == "/nix/store/y/bin/bash"
    assert known.bash(["/nix/store/x"]) == "/nix/store/x/bin/bash"
    with pytest.raises(ProfileError):
        known.bash(["/nix/store/xy", "/nix/store/zsh"])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"variables": {"X": 1}}', b"\xff"])
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(ProfileError):
        parse(data)


def test_entry_says_that_it_lives_then_becomes_the_command(tmp_path):
    (tmp_path / "environment").write_text("X=set\n")
    text = entry(f"{tmp_path}/environment", ["printf", "%s|", "a'b", "$X", ""], 3)
    (tmp_path / "enter").write_text(text)
    command = f"{BASH} {tmp_path}/enter 3>{tmp_path}/started"
    output = subprocess.run(command, shell=True, check=True, capture_output=True).stdout
    assert output == b"a'b|$X||"
    assert (tmp_path / "started").read_text() == "."


@pytest.mark.parametrize(
    ("start", "path"),
    [
        (b"#!/bin/sh\n", "/bin/sh"),
        (b"#! /usr/bin/env python3 -u\nx", "/usr/bin/env"),
        (b"#!/bin/sh", "/bin/sh"),
        (b"#!\n/bin/sh", None),
        (b"#!bin/sh\n", None),
        (b"echo", None),
        (b"", None),
        (b" #!/bin/sh", None),
    ],
)
def test_interpreter(start, path):
    assert interpreter(start) == path


def test_quote_of_nothing_is_a_word():
    assert quote("") == "''"
