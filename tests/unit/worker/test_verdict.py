"""Comparisons and verdicts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init.outcome import Outcome
from streams.fold import Submission
from streams.request import Request
from streams.results import RunResult, StageResult
from worker import verdict

SPACES = st.text(alphabet=" \t\r\f\v", max_size=4).map(str.encode)
LINES = st.binary(max_size=8).filter(lambda line: b"\n" not in line)


@pytest.mark.parametrize(
    ("compare", "got", "expected", "same"),
    [
        ("exact", b"a\n", b"a\n", True),
        ("exact", b"a", b"a\n", False),
        ("trailing", b"a", b"a\n", True),
        ("trailing", b"a  \r\nb\t\n\n\n", b"a\nb", True),
        ("trailing", b" a", b"a", False),
        ("trailing", b"a\n\nb", b"a\nb", False),
        ("trailing", b"a b", b"a  b", False),
        ("trailing", b"", b"\n \n", True),
        ("trailing", b"a", b"", False),
        ("tokens", b"1 2\n3", b"1\n2   3\n\n", True),
        ("tokens", b"12", b"1 2", False),
        ("tokens", b"1 2 3", b"1 2", False),
        ("tokens", b"1.0", b"1", False),
        ("float:1e-6", b"1.0000001", b"1", True),
        ("float:1e-6", b"1.00001", b"1", False),
        ("float:1e-6", b"1000000.5", b"1000000", True),
        ("float:0", b"2e0", b"2", True),
        ("float:0.1", b"x 1.05", b"x 1", True),
        ("float:0.1", b"y 1.05", b"x 1", False),
        ("float:0.1", b"nan", b"nan", True),
        ("float:0.1", b"nan", b"1", False),
        ("float:0.1", b"inf", b"+inf", True),
        ("float:0.1", b"inf", b"-inf", False),
        ("float:0.1", b"inf", b"1", False),
        ("float:0.1", b"1_0", b"10", False),
        ("float:0.1", b"1 2", b"1", False),
        ("float:0.1", b"1e999", b"1", False),
        ("float:0.1", b"1e999", b"2e999", False),
        ("float:0.1", b"1e999", b"inf", False),
        ("float:0.1", b"2.0e999", b"1.9e999", True),
        ("float:0.1", b"-inf", b"-inf", True),
        ("float:0.1", b"NaN", b"nan", False),
        ("float:0.1", b"-nan", b"nan", False),
        ("float:0.1", b"0x1p3", b"8", False),
        ("float:0.1", b"0x8", b"0x8", True),
        ("float:0", b"-0", b"0", True),
        ("float:0", b"-0.0e5", b"+.0", True),
        ("float:0", b"5.", b"5", True),
        ("float:0", b".", b"0", False),
        ("float:0", b"1e", b"1", False),
        ("float:0", b"- 1", b"-1", False),
        ("float:0", "\u0661".encode(), b"1", False),  # a digit elsewhere
        # on the border, which in doubles is beyond it
        ("float:0.1", b"1.1", b"1", True),
        ("float:0.1", b"1.1000000000000000000000001", b"1", False),
        ("float:1e-6", b"0.000001", b"0", True),
        ("float:0", b"0.1", b"0.10000000000000000001", False),
        ("float:0", b"9" * 400, b"9" * 399 + b"8", False),
        ("float:1e-6", b"9" * 400, b"9" * 399 + b"8", True),
        ("float:0", b"1e" + b"9" * 30, b"2e" + b"9" * 30, False),
        ("float:0", b"1e-" + b"9" * 30, b"0", True),
        ("float:0", b"1e" + b"0" * 30 + b"1", b"10", True),
        # beyond the largest exponent that decimals have: rounded, subtracted, multiplied
        ("float:1e-6", b"9" * 60 + b"e999999999999999940", b"5", False),
        (
            "float:1e-6",
            b"9" * 60 + b"e999999999999999940",
            b"9" * 61 + b"e999999999999999939",
            True,
        ),
        ("float:1e-6", b"9e999999999999999999", b"-9e999999999999999999", False),
        ("float:3", b"9e999999999999999999", b"-9e999999999999999999", True),
        ("float:1.5", b"9e999999999999999999", b"-9e999999999999999999", False),
        ("float:10", b"1", b"9e999999999999999999", True),
        ("float:1e999", b"-9e999999999999999999", b"1", False),
        ("float:0.1", b"", b"\n", True),
        ("float:0.1", b"", b"0", False),
        ("float:0.1", b"1\r\n2\r\n", b"1 2", True),
        # white space of Unicode is a part of words, as it is to a C program
        ("tokens", "1\u00a02".encode(), b"1 2", False),
        ("tokens", "1\u20282".encode(), b"1 2", False),
        ("trailing", "a\u00a0\n".encode(), b"a\n", False),
        ("tokens", b"1\x002", b"1 2", False),
        ("tokens", b"1\x0b2\x0c3", b"1 2 3", True),
        ("trailing", b"a\r\nb\r\n", b"a\nb\n", True),
        ("trailing", b"a\rb", b"a\nb", False),
        ("trailing", b"\n\na", b"a", False),
        ("trailing", b"\xff \n", b"\xff", True),
        ("exact", b"a\r\n", b"a\n", False),
        ("exact", b"", b"", True),
    ],
)
def test_comparison(compare, got, expected, same):
    assert verdict.agrees(got, expected, compare) is same


@pytest.mark.parametrize(
    "compare",
    ["", "float", "float:", "float:x", "float:-1", "float:inf", "float:nan", "float:1_0",
     "float: 1", "float:\u0661", "exact:1"],
)  # fmt: skip
def test_unknown_comparison_is_an_error(compare):
    with pytest.raises(ValueError):
        verdict.agrees(b"", b"", compare)


@given(st.binary())
def test_every_comparison_accepts_the_expected_itself(data):
    for compare in ("exact", "trailing", "tokens", "float:0"):
        assert verdict.agrees(data, data, compare)


@given(st.lists(st.tuples(LINES, SPACES, SPACES)), SPACES)
def test_trailing_ignores_white_space_at_ends_of_lines(lines, end):
    one = b"\n".join(line + space for line, space, _ in lines)
    other = b"\n".join(line + space for line, _, space in lines) + b"\n" + end
    assert verdict.agrees(one, other, "trailing")


@given(st.binary(), st.binary())
def test_trailing_is_what_its_definition_says(one, other):
    def stripped(data):
        return b"\n".join(line.rstrip() for line in data.split(b"\n")).rstrip()

    assert verdict.agrees(one, other, "trailing") == (stripped(one) == stripped(other))


@given(st.binary(), st.binary())
def test_tokens_is_split(one, other):
    assert verdict.agrees(one, other, "tokens") == (one.split() == other.split())


@given(st.binary(), st.binary())
def test_a_stricter_comparison_never_accepts_more(one, other):
    accepted = [verdict.agrees(one, other, c) for c in ("exact", "trailing", "tokens", "float:0")]
    assert accepted == sorted(accepted)


NUMBERS = st.builds(
    "{}{}.{}e{}".format,
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**60),
    st.integers(0, 10**60),
    st.one_of(
        st.integers(-(10**18) - 99, -(10**18) + 99),
        st.integers(10**18 - 199, 10**18 + 99),
        st.integers(-5, 5),
    ),
).map(str.encode)


@given(NUMBERS, NUMBERS, st.sampled_from(["0", "1e-6", "1.5", "1e999", "1e-999"]))
def test_no_number_that_a_program_prints_is_an_error(got, expected, epsilon):
    compare = f"float:{epsilon}"
    assert verdict.agrees(expected, expected, compare)
    verdict.agrees(got, expected, compare)


@given(st.floats(-1e300, 1e300), st.floats(0, 1))
def test_float_is_absolute_or_relative(value, epsilon):
    near = value + epsilon / 2 * max(1.0, abs(value))  # doubles are rounded: half is inside
    assert verdict.agrees(repr(near).encode(), repr(value).encode(), f"float:{epsilon!r}")


@pytest.mark.parametrize(
    "data",
    [
        b"\n" * 16_000_000, b" " * 16_000_000, b"a " * 2_000_000, b"1" * 8_000_000,
        b"1." + b"1" * 8_000_000, b"1e" + b"1" * 8_000_000, b"+" * 8_000_000, b"1 " * 500_000,
    ],
    ids=["lines", "spaces", "words", "digits", "fraction", "exponent", "signs", "numbers"],
)  # fmt: skip
@pytest.mark.parametrize("end", [b"x", b"2"])
def test_a_hostile_output_is_compared_in_linear_time(data, end):
    began = time.process_time()
    for compare in ("trailing", "tokens", "float:1e-6"):
        verdict.agrees(data + end, data + b"3", compare)
        verdict.agrees(data + end, b"1", compare)
        verdict.agrees(b"1", data + end, compare)
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("outcome", "expected", "told"),
    [
        (Outcome.OK, b"a", "accepted"),
        (Outcome.OK, b"b", "wrong-answer"),
        (Outcome.OK, None, None),
        (Outcome.NONZERO_EXIT, b"a", "nonzero-exit"),
        (Outcome.NONZERO_EXIT, None, None),
        (Outcome.MEMORY_LIMIT, b"a", "memory-limit"),
    ],
)
def test_verdict_of_a_run(outcome, expected, told):
    assert verdict.of_run(outcome, b"a\n", expected, "trailing") == told


def stage(outcome: Outcome) -> StageResult:
    return StageResult(outcome=outcome)


def run(case: int, outcome: Outcome = Outcome.OK, told: str | None = None) -> RunResult:
    return RunResult(case=case, outcome=outcome, verdict=told)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Submission(dependencies=stage(Outcome.NONZERO_EXIT)), "dependencies-error"),
        (Submission(dependencies=stage(Outcome.WALL_TIME_LIMIT)), "dependencies-error"),
        (Submission(compile=stage(Outcome.NONZERO_EXIT)), "compile-error"),
        (Submission(compile=stage(Outcome.SIGNALLED)), "compile-error"),
        (Submission(compile=stage(Outcome.MEMORY_LIMIT)), "memory-limit"),
        (Submission(runs=(run(0), run(1))), "ok"),
        (Submission(runs=(run(0, told="accepted"), run(1))), "accepted"),
        (Submission(runs=(run(0, told="accepted"), run(1, told="wrong-answer"))), "wrong-answer"),
        (Submission(runs=(run(0), run(1, Outcome.SIGNALLED))), "signalled"),
        (
            Submission(
                compile=stage(Outcome.OK),
                runs=(
                    run(0, told="accepted"),
                    run(1, Outcome.DISK_LIMIT, "disk-limit"),
                    run(2, told="wrong-answer"),
                ),
            ),
            "disk-limit",
        ),
    ],
)
def test_verdict_of_a_submission(state, told):
    assert verdict.of_submission(state) == told


@pytest.mark.parametrize(
    ("failing", "stops"),
    [
        (run(1, told="accepted"), False),
        (run(1), False),
        (run(1, told="wrong-answer"), True),
        (run(1, Outcome.CPU_TIME_LIMIT, "cpu-time-limit"), True),
        (run(1, Outcome.CPU_TIME_LIMIT), True),
    ],
)
def test_a_failure_stops_what_wants_to_be_stopped(failing, stops):
    request = Request(files=(), stop_on_failure=True)
    state = Submission(request=request, runs=(run(0, told="accepted"), failing))
    assert verdict.stopped(state) is stops
    patient = state.model_copy(update={"request": Request(files=())})
    assert not verdict.stopped(patient)
