"""The judge: a run's output against what was expected, and a submission's verdict. Pure.

The verdict of a submission, first that holds:

1. `dependencies-error`: the shell could not be built, for whatever reason. Its outcome stands in
   the object; a limit met by the shell's build says nothing of the program.
2. `compile-error`: compile.sh ended by itself, in failure (`nonzero-exit`, `signalled`);
   otherwise the outcome that stopped it, such as `memory-limit`.
3. that of the first case, in order, that is not `accepted`: `wrong-answer`, or the run's outcome
   when it is not `ok`, whether something was expected of that case or not.
4. `accepted`: every case from which something was expected gave it, and there was one.
5. `ok`: nothing was expected, and every run was `ok`.
"""

from __future__ import annotations

import io
import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from itertools import zip_longest
from typing import Final

from init.outcome import Outcome
from streams.fold import Submission
from streams.results import RunResult, StageResult

ACCEPTED: Final = "accepted"
WRONG_ANSWER: Final = "wrong-answer"
COMPILE_ERROR: Final = "compile-error"
DEPENDENCIES_ERROR: Final = "dependencies-error"

_ENDED_ITSELF: Final = frozenset({Outcome.NONZERO_EXIT, Outcome.SIGNALLED})
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


def of_run(outcome: Outcome, stdout: bytes, expected: bytes | None, compare: str) -> str | None:
    """The verdict of one run; None when nothing was expected. Raises ValueError on `compare`."""
    if expected is None:
        return None
    if outcome is not Outcome.OK:
        return outcome.value
    return ACCEPTED if agrees(stdout, expected, compare) else WRONG_ANSWER


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


def of_submission(state: Submission) -> str:
    """The verdict of all that has run."""
    if failed(state.dependencies):
        return DEPENDENCIES_ERROR
    if state.compile is not None and not state.compile.ok:
        outcome = state.compile.outcome
        return COMPILE_ERROR if outcome in _ENDED_ITSELF else outcome.value
    for run in state.runs:
        if (told := _first_word(run)) not in (ACCEPTED, None):
            return told
    judged = any(run.verdict is not None for run in state.runs)
    return ACCEPTED if judged else Outcome.OK.value


def stopped(state: Submission) -> bool:
    """Whether a case has failed and the client wants no other to run after it."""
    return (
        state.request is not None
        and state.request.stop_on_failure
        and any(_first_word(run) not in (ACCEPTED, None) for run in state.runs)
    )


def failed(result: StageResult | None) -> bool:
    """Whether a stage has been run and its end forbids the next."""
    return result is not None and not result.ok


def _first_word(run: RunResult) -> str | None:
    if run.verdict is not None:
        return run.verdict
    return None if run.ok else run.outcome.value


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
