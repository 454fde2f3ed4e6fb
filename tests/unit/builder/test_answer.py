"""What Nix printed, read."""

from __future__ import annotations

import json

import pytest

from init import nix, nix_answer
from init.frames import Report
from init.outcome import Outcome
from streams.environments import is_shell_file

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
BASH = f"/nix/store/{HASH}-bash-5.2"
INPUTS = f"/nix/store/{HASH[::-1]}-nix-shell-inputs"
PROFILE = json.dumps(
    {"variables": {"BASH": {"type": "var", "value": f"{BASH}/bin/bash"}}, "bashFunctions": {}}
).encode()
PRINTED = f"{BASH}\n{INPUTS}\ninputs {INPUTS}\n".encode() + PROFILE


def report(stdout=PRINTED, outcome=Outcome.OK, stderr=b""):
    return Report(
        outcome, 0 if outcome is Outcome.OK else 1, None, 1.0, 0.5, 100, stdout, stderr,
        len(stdout), len(stderr),
    )  # fmt: skip


def test_an_environment_is_path_closure_and_profile():
    shown, answer = nix_answer.concluded(report())
    assert answer == nix_answer.Answer(INPUTS, (BASH, INPUTS), PROFILE)
    assert (shown.outcome, shown.stdout, shown.stdout_total) == (Outcome.OK, b"", 0)


def test_the_frame_names_the_inputs_first():
    environment = nix_answer.done(report()).environment
    assert environment.closure == (INPUTS, BASH)


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"\n",
        PROFILE,
        b"inputs \n" + PROFILE,
        f"inputs {INPUTS}\n".encode(),
        f"{BASH}\n{INPUTS}\ninputs {INPUTS}\n{BASH}\n".encode() + PROFILE,
        f"/etc/passwd\n{INPUTS}\ninputs {INPUTS}\n".encode() + PROFILE,
        f"{BASH}\ninputs /nix/store/../../etc\n".encode() + PROFILE,
        f"{INPUTS}\ninputs {INPUTS}\n".encode() + PROFILE,  # no bash in the closure
        f"{BASH}\ninputs {INPUTS}\n".encode() + b"{}",
        b"\xff\xfe\n{",
    ],
)
def test_what_is_no_environment_is_the_shells_fault(stdout):
    shown, answer = nix_answer.concluded(report(stdout))
    assert answer is None
    assert (shown.outcome, shown.exit_code) == (Outcome.NONZERO_EXIT, 1)
    assert shown.stderr.startswith(b"sandstream: ")


def test_nixs_words_are_kept_and_explained():
    words = b"error: attribute 'inputDerivation' in selection path 'inputDerivation' not found\n"
    shown, answer = nix_answer.concluded(report(b"", Outcome.NONZERO_EXIT, words))
    assert answer is None
    assert shown.stderr.startswith(words)
    assert b"pkgs.mkShell" in shown.stderr
    assert shown.stderr_total == len(shown.stderr)


@pytest.mark.parametrize(
    ("outcome", "words", "met"),
    [
        (Outcome.NONZERO_EXIT, b'error: x "/nix/store/0a-x.lock": Permission denied\n', True),
        (Outcome.NONZERO_EXIT, b"error: x '/nix/store/0a-x': Permission denied\n", False),
        (Outcome.NONZERO_EXIT, b'"/nix/store/0a-x.lock": Permission denied\nerror: y\n', False),
        (Outcome.MEMORY_LIMIT, b'error: x "/nix/store/0a-x.lock": Permission denied\n', False),
    ],
)
def test_a_lock_of_the_stores_owner_is_told_from_a_shell_that_fails(outcome, words, met):
    assert nix_answer.met_anothers_build(report(b"", outcome, words)) is met


def test_other_words_are_left_alone():
    shown, _ = nix_answer.concluded(report(b"", Outcome.NONZERO_EXIT, b"error: syntax\n"))
    assert shown.stderr == b"error: syntax\n"


@pytest.mark.parametrize(
    "name",
    [
        "shell.nix",
        "a.nix",
        "nix/x",
        "nix/a/b.txt",
        "flake.lock",
        "main.py",
        "nixx/a",
        "x/shell.nix",
        "d/y",
    ],
)
def test_init_and_the_api_agree_on_what_a_shell_may_read(name):
    assert nix.is_shell_file(name) == is_shell_file(name)


def test_a_closure_that_no_event_could_hold_is_told_to_its_author():
    paths = [f"/nix/store/{n:032d}-{'x' * 200}" for n in range(5000)]
    assert nix_answer.too_large(paths[:4000]) is None
    why = nix_answer.too_large(paths)
    assert why is not None
    assert "5000 paths" in why
    assert str(nix_answer.CLOSURE_BYTES) in why


def test_variables_that_are_too_large_as_bash_are_the_shells_fault():
    """Four million bytes as Nix prints them, and each quote is four letters in a script."""
    variables = {
        "X": {"type": "var", "value": "'" * 4_000_000},
        "BASH": {"type": "var", "value": "/nix/store/x/bin/bash"},
    }
    profile = json.dumps({"variables": variables}).encode()
    answer = nix_answer.Answer("/nix/store/x", ("/nix/store/x",), profile)
    with pytest.raises(nix_answer.BadAnswerError, match="make them smaller"):
        nix_answer.checked(answer)


def test_variables_that_would_fill_a_builders_memory_are_the_shells_fault():
    profile = b'{"variables": {"X": {"type": "var", "value": "%s"}}}' % (b"x" * 5_000_000)
    answer = nix_answer.Answer("/nix/store/x", ("/nix/store/x",), profile)
    with pytest.raises(nix_answer.BadAnswerError, match="the most is 4194304"):
        nix_answer.checked(answer)


PLANNED = f"""derivation /nix/store/{HASH}-inputs.drv
derivation /nix/store/{HASH}-shell.drv
these 2 derivations will be built:
  /nix/store/{HASH}-a.drv
  /nix/store/{HASH}-inputs.drv
these 1200 paths will be fetched (0.01 MiB download, 0.02 MiB unpacked):
  /nix/store/{HASH}-b
  not a path
don't know how to build these paths:
  /nix/store/{HASH}-c
"""


def test_a_plan_names_what_would_be_built_and_what_would_be_fetched():
    assert nix_answer.plan(PLANNED.encode()) == nix_answer.Plan(
        (f"/nix/store/{HASH}-inputs.drv", f"/nix/store/{HASH}-shell.drv"),
        (f"/nix/store/{HASH}-a.drv", f"/nix/store/{HASH}-inputs.drv"),
        (f"/nix/store/{HASH}-b",),
    )


def test_a_plan_of_one_is_read_too():
    one = f"this derivation will be built:\n  /nix/store/{HASH}-a.drv\n"
    assert nix_answer.plan(one.encode()).built == (f"/nix/store/{HASH}-a.drv",)


IFD = f"""error: Cannot build '/nix/store/{HASH}-inner.drv'.
       Reason: local builds are disabled (max-jobs = 0)
error:
       … while evaluating an attribute
       error: Cannot build '/nix/store/{HASH}-generated.nix.drv'.
       Reason: 1 dependency failed.
       Output paths:
         /nix/store/{HASH}-generated.nix
"""


def test_an_evaluation_that_reads_a_builds_output_says_which():
    wanted = report(b"", Outcome.NONZERO_EXIT, IFD.encode())
    assert nix_answer.wanted_by_evaluation(wanted) == f"/nix/store/{HASH}-generated.nix.drv"


@pytest.mark.parametrize("words", [b"error: syntax", b"error: Cannot build '/etc/passwd'.", b""])
def test_an_evaluation_that_fails_otherwise_wants_nothing(words):
    assert nix_answer.wanted_by_evaluation(report(b"", Outcome.NONZERO_EXIT, words)) is None
