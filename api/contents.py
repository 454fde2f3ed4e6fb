"""Strings of a request that stand for bytes, and the checks that no schema can state. Pure."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from api.names import fault_of, faults_together
from api.problems import Fault
from api.schema import COMPARE_LETTERS, COMPARES

#: Linux passes at most this in one argument, its final NUL included.
ARGUMENT_BYTES: Final = 128 * 1024 - 1
#: Of all test cases together: arguments stand in the event itself, which has a largest size.
ARGUMENTS_BYTES: Final = 128 * 1024
_SPACE: Final = b" \t\n\r\v\f"
_FLOAT: Final = re.compile(r"float:([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


@dataclass(slots=True)
class Checked:
    """The decoded bytes, in the request's order, and every fault found on the way."""

    files: list[tuple[str, bytes]] = field(default_factory=list)
    #: Names of the files that are marked so.
    protected: set[str] = field(default_factory=set)
    stdins: list[bytes] = field(default_factory=list)
    args: list[tuple[bytes, ...]] = field(default_factory=list)
    expected: list[bytes | None] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: Whether a list was too long to be looked at.
    too_long: bool = False


def check(body: Any, *, max_files: int, max_test_cases: int, runs: bool = True) -> Checked:
    """Decode all there is to decode. Parts of a wrong shape are passed over: the schema names them.

    `body` is JSON as it was parsed, of any shape; `runs`: whether it must have a run.sh.
    """
    found = Checked()
    if not isinstance(body, dict):
        return found
    _check_files(body.get("files"), max_files, found, runs=runs)
    _check_test_cases(body.get("test_cases"), max_test_cases, found)
    return found


def _check_files(files: Any, most: int, found: Checked, *, runs: bool) -> None:
    if not isinstance(files, list):
        return
    if len(files) > most:
        found.too_long = True
        found.faults.append(
            Fault("/files", f"{len(files)} files are above the maximum {most}: send fewer, "
                  "or one archive that run.sh unpacks")
        )  # fmt: skip
        return
    names: list[tuple[int, str]] = []
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            continue
        name = file.get("name")
        if isinstance(name, str):
            why = fault_of(name)
            if why is None:
                names.append((index, name))
            else:
                found.faults.append(Fault(f"/files/{index}/name", why))
        data = _decode(file, "content", "encoding", f"/files/{index}", found)
        if isinstance(name, str) and data is not None:
            found.files.append((name, data))
            if file.get("protected") is True:
                found.protected.add(name)
    for where, why in faults_together(names, runs=runs):
        field_ = "/files" if where is None else f"/files/{where}/name"
        found.faults.append(Fault(field_, why))


def _check_test_cases(cases: Any, most: int, found: Checked) -> None:
    if not isinstance(cases, list):
        return
    if len(cases) > most:
        found.too_long = True
        found.faults.append(
            Fault("/test_cases", f"{len(cases)} test cases are above the maximum {most}: "
                  "send them in several submissions")
        )  # fmt: skip
        return
    arguments = 0
    for index, case in enumerate(cases):
        if not isinstance(case, dict):
            continue
        where = f"/test_cases/{index}"
        found.stdins.append(_decode(case, "stdin", "stdin_encoding", where, found) or b"")
        found.expected.append(
            _decode(case, "expected_stdout", "expected_stdout_encoding", where, found)
        )
        args = _decode_args(case, where, found)
        arguments += sum(len(arg) + 1 for arg in args)
        found.args.append(args)
        compare = case.get("compare", "trailing")
        if isinstance(compare, str) and not _compares(compare):
            shown = repr(compare[:40])
            found.faults.append(Fault(f"{where}/compare", f"{shown} is none of {COMPARES}"))
    if arguments > ARGUMENTS_BYTES:
        found.faults.append(
            Fault("/test_cases", f"their args are {arguments} bytes together, the most is "
                  f"{ARGUMENTS_BYTES}: hand large inputs over as stdin or as a file")
        )  # fmt: skip


def _decode_args(case: dict[str, Any], where: str, found: Checked) -> tuple[bytes, ...]:
    given = case.get("args")
    args: list[bytes] = []
    for index, arg in enumerate(given if isinstance(given, list) else ()):
        field_ = f"{where}/args/{index}"
        data = _bytes(arg, case, "args_encoding", field_, found)
        if data is None:
            continue
        args.append(data)
        if b"\0" in data:
            found.faults.append(Fault(field_, "holds a NUL, which no argument can: remove it"))
        if len(data) > ARGUMENT_BYTES:
            found.faults.append(
                Fault(field_, f"is {len(data)} bytes long, the most is {ARGUMENT_BYTES}: "
                      "hand it over as stdin or as a file")
            )  # fmt: skip
    return tuple(args)


def _compares(compare: str) -> bool:
    if len(compare) > COMPARE_LETTERS:
        return True  # the schema says so
    if compare in {"trailing", "exact", "tokens"}:
        return True
    match = _FLOAT.fullmatch(compare)
    return match is not None and 0 <= float(compare.removeprefix("float:")) < math.inf


def _decode(
    part: dict[str, Any], key: str, encoding_key: str, where: str, found: Checked
) -> bytes | None:
    return _bytes(part.get(key), part, encoding_key, f"{where}/{key}", found)


def _bytes(
    text: Any, part: dict[str, Any], encoding_key: str, where: str, found: Checked
) -> bytes | None:
    """What a string stands for; None, and a fault, when it is not in the part's encoding."""
    encoding = part.get(encoding_key, "utf8")
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding not in _DECODERS:
        return None
    try:
        return _DECODERS[encoding](text)
    except (ValueError, binascii.Error) as error:
        remedy = f"is not {encoding} ({error}): encode it so, or say another {encoding_key}"
        found.faults.append(Fault(where, remedy))
        return None


def _base64(text: str) -> bytes:
    """Line breaks are fine: many tools put them in. Of bytes: 32 MiB of spaces are no matter."""
    return base64.b64decode(text.encode("ascii").translate(None, _SPACE), validate=True)


_DECODERS: Final[dict[str, Callable[[str], bytes]]] = {
    "utf8": str.encode,
    "base64": _base64,
    "hex": bytes.fromhex,
}
