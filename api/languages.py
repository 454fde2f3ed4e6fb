"""The ready-made shells: one folder for each language, found by listing.

`<name>/shell.nix` and `<name>/run.sh`, perhaps `compile.sh`; `test_cases.json` holds the example's
test cases, and every other file belongs to the example.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from api.problems import Fault
from streams.request import COMPILE, RUN, SHELL

_CASES: Final = "test_cases.json"
_FIELD: Final = "language"
#: Letters of an unknown name that its message repeats.
_SHOWN: Final = 40


def languages(folder: Path) -> list[dict[str, Any]]:
    """An array, sorted by name; empty where there is no such folder."""
    return [_language(one) for one in _folders(folder)]


def with_language(body: Any, folder: Path) -> tuple[Any, list[Fault]]:
    """The body with its language's files behind its own, or as it is, and what is wrong with it.

    The shell is the language's; of its scripts those that the client does not send. Parts of a
    wrong shape are passed over: the schema names them.
    """
    if not isinstance(body, dict):
        return body, []
    name, files = body.get(_FIELD), body.get("files")
    if not isinstance(name, str) or not isinstance(files, list):
        return body, []
    sent = [file.get("name") for file in files if isinstance(file, dict)]
    known = {one.name: one for one in _folders(folder)}
    faults: list[Fault] = []
    if SHELL in sent:
        why = f"is sent beside a {SHELL} of your own: send one of the two"
        faults.append(Fault(f"/{_FIELD}", why))
    if name in known:
        ours = _ready(known[name])
    else:
        there = ", ".join(known) or "none"
        faults.append(
            Fault(f"/{_FIELD}", f"{name[:_SHOWN]!r} is not there; these languages are: {there}")
        )
        ours = {SHELL: "", RUN: ""}  # they are missing because of this fault, which is told
    added = [
        {"name": file, "content": content} for file, content in ours.items() if file not in sent
    ]
    return {**body, "files": [*files, *added]}, faults


def _ready(folder: Path) -> dict[str, str]:
    """What a submission takes over from a language."""
    names = (SHELL, COMPILE, RUN)
    return {name: (folder / name).read_text() for name in names if (folder / name).is_file()}


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        one for one in sorted(folder.iterdir()) if (one / SHELL).is_file() and (one / RUN).is_file()
    ]


def _language(folder: Path) -> dict[str, Any]:
    files = {
        file.relative_to(folder).as_posix(): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != _CASES
    }
    cases = folder / _CASES
    return {
        "name": folder.name,
        "shell_nix": files[SHELL],
        "compile_sh": files.get(COMPILE),
        "run_sh": files[RUN],
        "example": {
            "files": [{"name": name, "content": content} for name, content in files.items()],
            **({"test_cases": json.loads(cases.read_text())} if cases.is_file() else {}),
        },
    }
