"""The shell's environment, as a bash script, out of what `nix print-dev-env --json` told once.

The script does what `nix develop` and nix-shell do before they run a command: the same variables
are skipped, and shellHook runs at its end. See Nix's src/nix/develop.cc (`ignoreVars`, `toBash`)
and src/nix-build/nix-build.cc.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

HOME: Final = "/home/user"
#: What Nix skips, as it describes the build and not the shell.
_SKIPPED_BY_NIX: Final = frozenset({
    "BASHOPTS", "HOME", "NIX_BUILD_TOP", "NIX_ENFORCE_PURITY", "NIX_LOG_FD", "NIX_REMOTE", "PPID",
    "SHELL", "SHELLOPTS", "SSL_CERT_FILE", "TEMP", "TEMPDIR", "TERM", "TMP", "TMPDIR", "TZ", "UID",
})  # fmt: skip
#: Read-only in bash, or its own business: to set them is an error or confuses it.
_BASH_OWNS: Final = frozenset({
    "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_VERSINFO", "EUID", "FUNCNAME",
    "GROUPS", "OLDPWD", "PWD", "SHLVL", "_",
})  # fmt: skip
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION: Final = re.compile(r"[^\s$`'\"\\;&|<>(){}#!]+")
#: Where a profile names its bash: the one that ran it first, then what stdenv says.
_BASH: Final = ("BASH", "SHELL", "CONFIG_SHELL", "builder")


#: What /box holds beside the reaper and the entry scripts with the arguments of some cases.
_SCRIPT_BYTES: Final = 12 * 1024 * 1024


class ProfileError(ValueError):
    """The profile is none that a shell can be made of."""


class UnusableError(ProfileError):
    """Its author has made a shell that no jail can have; the text says why."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What print-dev-env told: variables by name as (type, value), and bodies of functions."""

    variables: dict[str, tuple[str, Any]]
    functions: dict[str, str]

    def text(self, name: str) -> str | None:
        """The value of a plain variable."""
        value = self.variables.get(name, ("", None))[1]
        return value if isinstance(value, str) else None

    def bash(self, closure: Iterable[str]) -> str:
        """The absolute path of the shell's own bash. Raises ProfileError.

        It has to be in the closure: a shell that was not told its own path guesses /bin/bash.
        """
        roots = tuple(f"{path}/" for path in closure)
        for name in _BASH:
            path = self.text(name)
            if path is not None and path.endswith("/bash") and path.startswith(roots):
                if ":" in path or "\0" in path:
                    continue  # nothing that a jail can have
                return path
        raise ProfileError(f"none of {', '.join(_BASH)} names a bash in the closure")


def parse(data: bytes) -> Profile:
    """The profile in the output of `nix print-dev-env --json`."""
    try:
        known = json.loads(data)
        variables = {
            name: (entry["type"], entry.get("value")) for name, entry in known["variables"].items()
        }
        return Profile(variables, dict(known.get("bashFunctions", {})))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfileError(f"not the output of print-dev-env: {error!r}") from error


def quote(value: str) -> str:
    """One word for bash, whatever it holds."""
    return "'" + value.replace("'", "'\\''") + "'"


def script(profile: Profile, bash: str, *, tmp: str = "/tmp") -> str:  # noqa: S108 - the jail's own
    """Bash that sets the shell up, up to and with its shellHook."""
    lines = ["unset shellHook"]
    for name, (kind, value) in profile.variables.items():
        if name in _SKIPPED_BY_NIX or name in _BASH_OWNS or not _VARIABLE.fullmatch(name):
            continue
        lines += _assignment(name, kind, value)
    # a function may use what only parses with it; print-dev-env does not say
    lines.append("shopt -s extglob")
    lines += [
        f"{name} ()\n{{\n{body}\n}}"
        for name, body in profile.functions.items()
        if _FUNCTION.fullmatch(name)
    ]
    lines.append("shopt -u extglob")
    lines += [f"export {name}={quote(value)}" for name, value in _own(bash, tmp)]
    # as nix-shell does: stdenv's runHook, where there is one, also runs the shellHooks array
    lines += [
        'if declare -F runHook >/dev/null; then runHook shellHook; else eval "${shellHook:-}"; fi',
        "shopt -u nullglob",
    ]
    return "\n".join(lines) + "\n"


def script_bytes(profile: Profile, bash: str) -> bytes:
    """`script`, as a jail is given it. Raises UnusableError: each quote becomes four letters."""
    data = script(profile, bash).encode(errors="surrogateescape")
    if len(data) > _SCRIPT_BYTES:
        raise UnusableError(
            f"its variables and functions make a script of {len(data)} bytes, and the most is"
            f" {_SCRIPT_BYTES}: make them smaller"
        )
    return data


def _own(bash: str, tmp: str) -> list[tuple[str, str]]:
    temporary = [(name, tmp) for name in ("NIX_BUILD_TOP", "TMPDIR", "TMP", "TEMP", "TEMPDIR")]
    return [
        ("HOME", HOME),
        ("IN_NIX_SHELL", "impure"),
        ("SHELL", bash),
        ("USER", "user"),
        *temporary,
    ]


def _assignment(name: str, kind: str, value: Any) -> list[str]:
    match kind, value:
        case (("exported" | "var"), str()):
            lines = [f"{name}={quote(value)}"]
            return [*lines, f"export {name}"] if kind == "exported" else lines
        case "array", list():
            return [f"declare -a {name}=({' '.join(quote(str(item)) for item in value)})"]
        case "associative", dict():
            items = (f"[{quote(str(key))}]={quote(str(item))}" for key, item in value.items())
            return [f"declare -A {name}=({' '.join(items)})"]
        case _:
            return []  # `unknown`: declared, never set


def entry(environment: str, command: list[str], started_fd: int) -> str:
    """The script that a jail runs: it tells that it lives, sets the shell up, becomes `command`.

    Whatever it has done before the byte on `started_fd` is ours; the fd is closed before any
    line of the submission's runs.
    """
    words = " ".join(map(quote, command))
    return f"printf . >&{started_fd}; exec {started_fd}>&-\n. {quote(environment)}\nexec {words}\n"


def interpreter(start: bytes) -> str | None:
    """The absolute path that a script's first line names after `#!`."""
    line = start.partition(b"\n")[0]
    words = line[2:].split() if line.startswith(b"#!") else []
    found = words[0] if words else b""
    return os.fsdecode(found) if found.startswith(b"/") and b"\0" not in found else None
