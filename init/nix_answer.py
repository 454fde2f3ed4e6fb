"""From what Nix printed to an environment, or to words that help the shell's author. Pure."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from init import profile as profiles
from init.frames import DependenciesDone, Environment, Report
from init.nix import is_store_path
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program printed: the inputs' output, its closure, and the shell's variables."""

    path: str
    closure: tuple[str, ...]
    profile: bytes


class BadAnswerError(ValueError):
    """The program ended well, but what it printed is no environment; the text says to whom."""


def parse(stdout: bytes) -> Answer:
    """The three parts of what `script` prints. Raises BadAnswerError."""
    head, found, profile = stdout.partition(b"\n{")
    lines = head.decode(errors="replace").split("\n")
    word, _, path = lines[-1].partition(" ")
    if not found or word != "inputs":
        raise BadAnswerError("shell.nix must evaluate to one mkShell derivation, not to several")
    closure = tuple(sorted(set(lines[:-1])))
    answer = Answer(path, closure, b"{" + profile)
    for name in (path, *closure):
        if not is_store_path(name):
            raise BadAnswerError(f"{name!r} is no store path")
    return answer


#: All paths of a closure together, with what parts them. Each stands in an event at each use of
#: the environment; a shell of thousands of packages has a tenth of this.
CLOSURE_BYTES: Final = 1024 * 1024


def too_large(closure: Iterable[str]) -> str | None:
    """Why a closure can't be told to anybody; None when it can."""
    paths = list(closure)
    size = sum(len(path) + 3 for path in paths)
    if size <= CLOSURE_BYTES:
        return None
    return (
        f"the shell's closure has {len(paths)} paths, whose names have {size} bytes; the most is"
        f" {CLOSURE_BYTES}: use fewer packages, or put them together into one"
    )


#: Of a shell's variables and functions, as Nix prints them; a builder keeps those of many shells.
PROFILE_BYTES: Final = 4 * 1024 * 1024


def checked(answer: Answer) -> Answer:
    """The answer, if a stage can start its shell from the closure alone. Raises BadAnswerError."""
    if (why := too_large(answer.closure)) is not None:
        raise BadAnswerError(why)
    if len(answer.profile) > PROFILE_BYTES:
        raise BadAnswerError(
            f"the shell's variables and functions have {len(answer.profile)} bytes; the most is"
            f" {PROFILE_BYTES}: put what is large into files of a package"
        )
    try:
        known = profiles.parse(answer.profile)
        bash = known.bash(answer.closure)
    except profiles.ProfileError as error:
        raise BadAnswerError(f"{error}; use pkgs.mkShell, which brings one") from error
    if "/".join(bash.split("/")[:4]) not in answer.closure:
        raise BadAnswerError(f"{bash} is not among the inputs of shell.nix; use pkgs.mkShell")
    try:
        profiles.script_bytes(known, bash)
    except profiles.UnusableError as error:
        raise BadAnswerError(f"the shell is too large: {error}") from error
    return answer


_UNREACHABLE: Final = (
    "a build reaches the hosts that the administrator allows, and only where its hash is known"
    " before (SANDSTREAM_DEPENDENCIES_ALLOW)"
)
#: What Nix says -> what the user can do about it.
_HINTS: Final = (
    (
        b"attribute 'inputDerivation' in selection path",
        "shell.nix must evaluate to a shell: pkgs.mkShell { packages = [ ... ]; }",
    ),
    (
        b"forbidden in restricted mode",
        "a shell reads shell.nix, *.nix, *.lock, nix/** and <nixpkgs>, and it has no network",
    ),
    (b"Could not resolve host", _UNREACHABLE),
    (b"CONNECT tunnel failed, response 403", _UNREACHABLE),
)


def explained(stderr: bytes) -> bytes:
    """Nix's words, and below them ours where they are hard to understand."""
    hints = dict.fromkeys(hint for words, hint in _HINTS if words in stderr)
    return stderr + "".join(f"sandstream: {hint}\n" for hint in hints).encode()


#: The last words of a Nix that has met the lock of a build of the store's owner.
_ANOTHERS_LOCK: Final = re.compile(rb"/nix/store/[^/\s]+\.lock\W{0,2}: Permission denied\s*\Z")


def met_anothers_build(report: Report) -> bool:
    """Whether Nix ended because the store's owner builds the same: it says nothing of the shell.

    A shell can say the same words. Then it is built again, under what is left of its limits.
    """
    return (
        report.outcome is Outcome.NONZERO_EXIT and _ANOTHERS_LOCK.search(report.stderr) is not None
    )


#: A build's process, or its shell's child, that SIGXFSZ killed; only there Nix indents.
_FILE_SIZE: Final = re.compile(
    rb"^ +Reason: builder failed (?:with exit code %d|due to signal %d\b.*)\.?$"
    % (128 + signal.SIGXFSZ, signal.SIGXFSZ),
    re.MULTILINE,
)


def met_file_size(stderr: bytes) -> bool:
    """Whether Nix says that a build ended by the limit on the size of a file."""
    return _FILE_SIZE.search(stderr) is not None


def concluded(report: Report) -> tuple[Report, Answer | None]:
    """The report as its submission gets it, and the environment if there is one.

    What Nix printed on stdout is ours to read: nothing of it stays in the report.
    """
    shown = replace(report, stdout=b"", stdout_total=0)
    if report.outcome is Outcome.NONZERO_EXIT and met_file_size(report.stderr):
        # Nix hides it: it tells how the builder ended, and ends itself with a code of its own
        told = replace(
            shown, outcome=Outcome.FILE_SIZE_LIMIT, message="a build's file grew too large"
        )
        return told, None
    if report.outcome is not Outcome.OK:
        return _said(shown, explained(report.stderr)), None
    try:
        return shown, checked(parse(report.stdout))
    except BadAnswerError as error:
        return refused(shown, str(error)), None


def refused(report: Report, why: str) -> Report:
    """The report of a program that ended well, and of whose environment there is no use."""
    said = _said(report, report.stderr + f"sandstream: {why}\n".encode())
    return replace(said, outcome=Outcome.NONZERO_EXIT, exit_code=1)


def instantiated(report: Report) -> Report:
    """The report of a step that failed, as its submission gets it."""
    return concluded(report)[0]


def nothing_used() -> Report:
    """The report of a job before its first step."""
    return Report(Outcome.OK, 0, None, 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evaluation made, and what building it would build and fetch; store paths all."""

    derivations: tuple[str, ...]
    built: tuple[str, ...]
    fetched: tuple[str, ...]


def plan(stdout: bytes) -> Plan:
    """What a plan's script printed. What is no store path is left out. Pure."""
    derivations: list[str] = []
    lists: dict[str, list[str]] = {"built": [], "fetched": []}
    into: list[str] | None = None
    for line in stdout.decode(errors="replace").split("\n"):
        word, _, path = line.partition(" ")
        if word == "derivation":
            derivations.append(path)
        elif line.startswith("  "):
            if into is not None:
                into.append(line[2:])
        else:
            heading = _PLANNED.match(line)
            into = lists[heading[1]] if heading else None
    found = (derivations, *lists.values())
    return Plan(*(tuple(path for path in paths if is_store_path(path)) for paths in found))


#: The headings of a dry run (Nix's src/libmain/shared.cc, `printMissing`).
_PLANNED: Final = re.compile(
    r"th(?:is|ese)(?: \d+)? (?:derivations?|paths?) will be (built|fetched)\b.*:$"
)
#: The last words of an evaluation that asked for a build where none may be.
_WANTED: Final = re.compile(rb"error: Cannot build '(/nix/store/[^'\s]+\.drv)'\.")


def wanted_by_evaluation(report: Report) -> str | None:
    """The derivation whose output an evaluation reads, where it ended because of that.

    A shell can say the same words. Then it names a derivation of its own, and no more.
    """
    if report.outcome is not Outcome.NONZERO_EXIT:
        return None
    found = _WANTED.findall(report.stderr)
    last = found[-1].decode() if found else ""
    return last if is_store_path(last) else None


def done(report: Report) -> DependenciesDone:
    """The frame; the first path of its closure is the output of the shell's `inputDerivation`."""
    shown, answer = concluded(report)
    if answer is None:
        return DependenciesDone(shown)
    others = (path for path in answer.closure if path != answer.path)
    return DependenciesDone(shown, Environment((answer.path, *others), answer.profile))


def _said(report: Report, stderr: bytes) -> Report:
    more = len(stderr) - len(report.stderr)
    return replace(report, stderr=stderr, stderr_total=report.stderr_total + more)
