"""Whether an output is what was expected: compared here, or in a process of its own.

`agrees` is pure. Run as a program, this file compares what it reads from stdin, under limits that
it sets itself: the output is a stranger's, and may be made to take long. It imports the standard
library alone, as nothing else is there then.
"""

from __future__ import annotations

import io
import os
import re
import resource
import sys
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from itertools import zip_longest
from typing import Final

_TOKEN: Final = re.compile(rb"\S+")
#: Each part begins with a letter that the one before can't take, so no output makes it go back.
_NUMBER: Final = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_INFINITY: Final = {b"inf": 1, b"+inf": 1, b"-inf": -1}
#: Numbers are what they say, to the last digit; their difference has 50 correct ones. Doubles
#: would find 1.1 and 1 further apart than 0.1, and 1e999 the same as 2e999. Nothing is trapped:
#: what is compared is a stranger's, and overflows where it likes.
_DECIMAL: Final = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
#: Numbers too large for a sum or a product are compared this much smaller. A tolerance has an
#: exponent of three digits at most.
_SMALLER: Final = Decimal("1e-10000")
#: Both contents, and what decimals of millions of digits take.
_MEMORY_BYTES: Final = 1024**3


def agrees(stdout: bytes, expected: bytes, compare: str) -> bool:
    """Whether the output is what was expected.

    `exact`: byte for byte. `trailing`: white space at the ends of lines and of the whole does not
    count. `tokens`: only the words between white space count. `float:EPS`: as tokens, but two
    decimal numbers agree when they are no further apart than EPS, absolutely or relative to the
    expected. `inf` has its sign; what is no number (`nan`, `0x1p3`, `1_000`) is a word.
    """
    name, _, argument = compare.partition(":")
    match name, argument:
        case "exact", "":
            return stdout == expected
        case "trailing", "":
            return stdout == expected or _same_lines(stdout, expected)
        case "tokens", "":
            return stdout == expected or _same_tokens(stdout, expected, None)
        case "float", _:
            return _same_tokens(stdout, expected, _epsilon(argument))
        case _:
            raise ValueError(f"unknown comparison {compare!r}")


def _same_lines(one: bytes, other: bytes) -> bool:
    """Line by line, never all lines at once: an output may be millions of empty ones."""
    lines = zip_longest(io.BytesIO(one.rstrip()), io.BytesIO(other.rstrip()))
    return all(a is not None and b is not None and a.rstrip() == b.rstrip() for a, b in lines)


def _same_tokens(one: bytes, other: bytes, epsilon: Decimal | None) -> bool:
    pairs = zip_longest(_TOKEN.finditer(one), _TOKEN.finditer(other))
    return all(
        a is not None and b is not None and _same_token(a.group(), b.group(), epsilon)
        for a, b in pairs
    )


def _same_token(got: bytes, expected: bytes, epsilon: Decimal | None) -> bool:
    if got == expected:
        return True
    if epsilon is None:
        return False
    if got in _INFINITY:
        return _INFINITY[got] == _INFINITY.get(expected)
    x, y = _number(got), _number(expected)
    if x is None or y is None:
        return False
    return _near(x, y, epsilon, Decimal(1))


def _near(x: Decimal, y: Decimal, epsilon: Decimal, one: Decimal) -> bool:
    """Whether |x - y| <= epsilon * max(one, |y|)."""
    apart = _DECIMAL.subtract(x, y).copy_abs()
    room = _DECIMAL.multiply(epsilon, max(one, y.copy_abs()))
    if apart.is_finite() and room.is_finite():
        return apart <= room
    x, y, one = (_DECIMAL.multiply(number, _SMALLER) for number in (x, y, one))
    return _near(x, y, epsilon, one)


def _number(token: bytes) -> Decimal | None:
    """The decimal number that a token is, with whatever exponent; None when it is none."""
    if not _NUMBER.fullmatch(token):
        return None
    text = token.decode("ascii")
    try:
        return Decimal(text)
    except InvalidOperation:
        # an exponent of 19 digits: nothing at all, or further from every other than can be told
        return Decimal(0) if float(text) == 0 else None


def _epsilon(text: str) -> Decimal:
    if not text.isascii() or not _NUMBER.fullmatch(text.encode()) or text.startswith("-"):
        raise ValueError(f"not a tolerance: {text!r}")
    return Decimal(text)


def encode(stdout: bytes, expected: bytes, compare: str) -> bytes:
    """What the program reads: a line with the comparison and both sizes, then both contents."""
    return f"{compare} {len(stdout)} {len(expected)}\n".encode() + stdout + expected


def main(cpu_seconds: str) -> None:
    """Print `same` or `different`. The kernel ends us by SIGXCPU after that much CPU time."""
    for kind, most in (
        (resource.RLIMIT_CPU, int(cpu_seconds)),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # a second more of CPU time before SIGKILL, which would not tell why
        resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU else most))
    with os.fdopen(0, "rb") as stdin:
        compare, first, second = stdin.readline().decode().split()
        stdout, expected = stdin.read(int(first)), stdin.read(int(second))
    if (len(stdout), len(expected)) != (int(first), int(second)):
        sys.exit("not all has come that was to be compared")
    os.write(1, b"same" if agrees(stdout, expected, compare) else b"different")


if __name__ == "__main__":
    main(sys.argv[1])
