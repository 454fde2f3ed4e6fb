"""From bytes to JSON that says one thing only, or the fault in words. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from api.problems import Fault, invalid

#: Items of all arrays: arguments are at most 131,072 together, everything else is far below.
_ITEMS: Final = 150_000
_DEPTH: Final = 32
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class _TwiceError(ValueError):
    """An object with two fields of one name."""


def parse(data: bytes, *, most_fields: int) -> Any:
    """The body's value. Raises Problem 422, also when its objects have too many fields together."""
    if data.startswith(_BYTE_ORDER_MARK):
        raise _fault("begins with a byte order mark: send plain UTF-8")
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _fault(f"is not JSON: {error}") from error
    if _exceeds(body, most_fields):
        raise _fault(
            f"holds more than {most_fields} fields or {_ITEMS} items, "
            f"or some that are nested deeper than {_DEPTH}"
        )
    name = _twice(data)
    if name is not None:
        raise _fault(f"has an object in which {name!r} stands twice: keep one of them")
    return body


def _fault(words: str) -> Exception:
    return invalid([Fault("", f"the body {words}")])


def _exceeds(body: Any, most_fields: int) -> bool:
    """Whether it is too much to be looked at: every single field may become a fault of its own."""
    layer, fields, items = [body], 0, 0
    for _ in range(_DEPTH):
        below: list[Any] = []
        for value in layer:
            if isinstance(value, dict):
                fields += len(value)
                below += value.values()
            elif isinstance(value, list):
                items += len(value)
                below += value
            if fields > most_fields or items > _ITEMS:
                return True
        if not below:
            return False
        layer = below
    return True


def _twice(data: bytes) -> str | None:
    """A name that one object has twice. orjson takes the last of them, others the first."""

    def only_once(pairs: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise _TwiceError(name[:40])
            names.add(name)

    try:
        # numbers are of no interest here, and Python's own limit of digits is in the way
        json.loads(data, object_pairs_hook=only_once, parse_int=str, parse_float=str)
    except _TwiceError as error:
        return str(error)
    return None
