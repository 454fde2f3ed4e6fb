"""What each comparison takes for the same, and the process in which large ones are made."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import comparison, judging
from worker.errors import AttemptFailed
from worker.judging import ComparisonTooLong

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
    assert comparison.agrees(got, expected, compare) is same


@pytest.mark.parametrize(
    "compare",
    ["", "float", "float:", "float:x", "float:-1", "float:inf", "float:nan", "float:1_0",
     "float: 1", "float:\u0661", "exact:1"],
)  # fmt: skip
def test_unknown_comparison_is_an_error(compare):
    with pytest.raises(ValueError):
        comparison.agrees(b"", b"", compare)


@given(st.binary())
def test_every_comparison_accepts_the_expected_itself(data):
    for compare in ("exact", "trailing", "tokens", "float:0"):
        assert comparison.agrees(data, data, compare)


@given(st.lists(st.tuples(LINES, SPACES, SPACES)), SPACES)
def test_trailing_ignores_white_space_at_ends_of_lines(lines, end):
    one = b"\n".join(line + space for line, space, _ in lines)
    other = b"\n".join(line + space for line, _, space in lines) + b"\n" + end
    assert comparison.agrees(one, other, "trailing")


@given(st.binary(), st.binary())
def test_trailing_is_what_its_definition_says(one, other):
    def stripped(data):
        return b"\n".join(line.rstrip() for line in data.split(b"\n")).rstrip()

    assert comparison.agrees(one, other, "trailing") == (stripped(one) == stripped(other))


@given(st.binary(), st.binary())
def test_tokens_is_split(one, other):
    assert comparison.agrees(one, other, "tokens") == (one.split() == other.split())


@given(st.binary(), st.binary())
def test_a_stricter_comparison_never_accepts_more(one, other):
    accepted = [
        comparison.agrees(one, other, c) for c in ("exact", "trailing", "tokens", "float:0")
    ]
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
    assert comparison.agrees(expected, expected, compare)
    comparison.agrees(got, expected, compare)


@given(st.floats(-1e300, 1e300), st.just(0.0) | st.floats(1e-12, 1))
def test_float_is_absolute_or_relative(value, epsilon):
    near = value + epsilon / 2 * max(1.0, abs(value))  # doubles are rounded: half is inside
    assert comparison.agrees(repr(near).encode(), repr(value).encode(), f"float:{epsilon!r}")


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
        comparison.agrees(data + end, data + b"3", compare)
        comparison.agrees(data + end, b"1", compare)
        comparison.agrees(b"1", data + end, compare)
    assert time.process_time() - began < 20


LARGE = b"1.5 " * 10_000


@pytest.mark.parametrize(
    ("compare", "got", "same"),
    [
        ("float:0.1", LARGE, True), ("float:0.1", LARGE + b"2", False), ("tokens", LARGE, True),
        ("trailing", LARGE + b"\n", True), ("trailing", b"x" + LARGE, False),
        ("float:0.1", LARGE.replace(b"1.5", b"1.4"), True), ("float:1e-3", b"1 " * 20_000, False),
        ("exact", LARGE, True), ("exact", LARGE[:-1], False),
    ],
)  # fmt: skip
async def test_a_large_output_is_compared_as_a_small_one(compare, got, same):
    assert comparison.agrees(got, LARGE, compare) is same
    assert await judging.agrees(got, LARGE, compare, cpu_seconds=60) is same


async def test_comparing_has_a_limit_of_its_own_and_holds_up_nobody():
    """16 MiB that are the same in each number, but not in its letters."""
    got, expected = b"1.0 " * 4 * 1024**2, b"1 " * 4 * 1024**2
    before, ticks = time.process_time(), 0
    comparing = asyncio.create_task(judging.agrees(got, expected, "float:1e-6", cpu_seconds=1))
    while not comparing.done():
        await asyncio.sleep(0.01)
        ticks += 1
    with pytest.raises(ComparisonTooLong, match="more than 1 s of CPU time"):
        await comparing
    assert ticks > 20
    assert time.process_time() - before < 5  # the whole would be several times that


class Broken:
    """Programs that end as ours never should."""

    def __init__(self, folder, text):
        self.file = folder / "program.py"
        self.file.write_text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise SystemExit('out of order')", "ended with 1: out of order"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("print('perhaps')", "ended with 0"),
        ("", "ended with 0"),
    ],
)
async def test_a_fault_of_ours_loses_the_attempt_and_is_no_verdict(
    tmp_path, monkeypatch, text, words
):
    monkeypatch.setattr(judging, "_PROGRAM", Broken(tmp_path, text).file)
    with pytest.raises(AttemptFailed, match=words):
        await judging.agrees(LARGE, LARGE, "tokens", cpu_seconds=5)


async def test_a_process_that_is_stuck_or_no_longer_wanted_is_ended(tmp_path, monkeypatch):
    told = tmp_path / "pid"
    text = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(judging, "_PROGRAM", Broken(tmp_path, text).file)
    monkeypatch.setattr(judging, "_WALL_PER_CPU", 0)
    monkeypatch.setattr(judging, "_WALL_SECONDS", 2)
    with pytest.raises(AttemptFailed, match="had not ended after 2 s"):
        await judging.agrees(LARGE, LARGE, "tokens", cpu_seconds=5)
    gone(int(told.read_text()))
    told.unlink()
    monkeypatch.setattr(judging, "_WALL_SECONDS", 60)
    comparing = asyncio.create_task(judging.agrees(LARGE, LARGE, "tokens", cpu_seconds=5))
    while not (told.exists() and told.read_text()):
        await asyncio.sleep(0.01)
    comparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await comparing
    gone(int(told.read_text()))


def gone(pid):
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_machine_that_can_start_nothing_loses_the_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(AttemptFailed, match="could not begin"):
        await judging.agrees(LARGE, LARGE, "tokens", cpu_seconds=5)


def test_the_process_has_limits_and_what_it_lacks_is_no_verdict():
    data = comparison.encode(LARGE, LARGE, "tokens")
    argv = [sys.executable, "-I", "-S", comparison.__file__, "5"]
    cut = subprocess.run(argv, input=data[:-1], check=False, capture_output=True)
    assert (cut.returncode, cut.stdout) == (1, b"")
    assert b"not all has come" in cut.stderr
    limits = (
        "import runpy, sys, io, os, resource; sys.argv = [sys.argv[1], '5']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "r = resource; print(*(r.getrlimit(k)[0] for k in"
        " (r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_FSIZE, r.RLIMIT_CORE)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", limits, comparison.__file__], input=data, check=True,
        capture_output=True,
    )  # fmt: skip
    assert told.stdout.decode().split() == ["same5", str(1024**3), "0", "0"]
