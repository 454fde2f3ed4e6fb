"""Bytes in, bytes out, through every process: nothing is lost, mangled or made up on the way."""

from __future__ import annotations

import base64
import hashlib
import json
import random

import pytest

from sandstream.client import Client

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
MIB = 1024 * 1024
SHELL = "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ];%s }\n"


def body(main: str, cases=None, *, shell: str = "", run: str = 'exec python3 main.py "$@"', **more):
    files = {"shell.nix": SHELL % shell, "run.sh": run, "main.py": main}
    limits = {"stdout_bytes": 16 * MIB, "stderr_bytes": 16 * MIB, "memory_bytes": 1024 * MIB}
    return {
        "files": [{"name": name, "content": content} for name, content in files.items()],
        "limits": {"run": limits | {"wall_seconds": 60, "cpu_seconds": 60}},
        "test_cases": cases or [{}],
    } | more  # fmt: skip


def noise(size: int) -> bytes:
    """The same in every process; no text."""
    return random.Random(size).randbytes(size)


WRITE_NOISE = (
    "import os, random\n"
    "data = random.Random({size}).randbytes({size})\n"
    "view = memoryview(data)\n"
    "while view: view = view[os.write({fd}, view):]\n"
)


async def test_sixteen_mebibytes_of_stdout_and_stderr_come_back_whole(running):
    size = 16 * MIB
    main = WRITE_NOISE.format(size=size, fd=1) + WRITE_NOISE.format(size=size, fd=2)
    async with Client(running.url, timeout=120) as client:
        found = await client.run(body(main))
        (run,) = found["runs"]
        assert (run["outcome"], run["exit_code"]) == ("ok", 0)
        digest = hashlib.sha256(noise(size)).hexdigest()
        for stream in ("stdout", "stderr"):
            assert run[stream] is None
            assert run[f"{stream}_encoding"] == "base64"
            assert run[f"{stream}_total"] == size
            raw = await client.raw(found["id"], "runs/0", stream)
            assert hashlib.sha256(raw).hexdigest() == digest


@pytest.mark.parametrize(("size", "in_place"), [(MIB, True), (MIB + 1, False), (65537, True)])
async def test_up_to_a_mebibyte_stands_in_the_object_as_base64(running, size, in_place):
    async with Client(running.url, timeout=60) as client:
        found = await client.run(body(WRITE_NOISE.format(size=size, fd=1)))
        (run,) = found["runs"]
        assert run["stdout_encoding"] == "base64"
        if in_place:
            assert base64.b64decode(run["stdout"]) == noise(size)
        else:
            assert run["stdout"] is None
        assert await client.raw(found["id"], "runs/0", "stdout") == noise(size)


@pytest.mark.parametrize("limit", [1, 65536, 1_000_000])
async def test_what_is_over_the_limit_is_cut_exactly_there_and_the_rest_is_counted(running, limit):
    wanted = body(WRITE_NOISE.format(size=2 * MIB, fd=1))
    wanted["limits"]["run"]["stdout_bytes"] = limit
    async with Client(running.url, timeout=60) as client:
        found = await client.run(wanted)
        (run,) = found["runs"]
        assert run["outcome"] == found["verdict"] == "stdout-limit"
        assert await client.raw(found["id"], "runs/0", "stdout") == noise(2 * MIB)[:limit]
        assert limit < run["stdout_total"] <= 2 * MIB


async def test_exactly_the_limit_is_no_fault(running):
    wanted = body(WRITE_NOISE.format(size=100_000, fd=1))
    wanted["limits"]["run"]["stdout_bytes"] = 100_000
    async with Client(running.url) as client:
        (run,) = (await client.run(wanted))["runs"]
    assert (run["outcome"], run["stdout_total"]) == ("ok", 100_000)


async def test_ten_megabytes_of_stdin_arrive_and_are_compared_with_a_large_answer(running):
    """Case 0: bytes echoed and compared exactly; 1: the same text to a letter, one is wrong."""
    data = noise(10_000_000)
    text = "".join(f"{number} \n" for number in range(1_200_000))
    assert len(text) > 9_000_000
    echo = (
        "import hashlib, sys\n"
        "data = sys.stdin.buffer.read()\n"
        "print(hashlib.sha256(data).hexdigest(), len(data), file=sys.stderr)\n"
        "sys.stdout.buffer.write(data)\n"
    )
    encoded = base64.b64encode(data).decode()
    first = {
        "stdin": encoded, "stdin_encoding": "base64", "compare": "exact",
    }  # fmt: skip
    wanted = body(echo, [first])
    async with Client(running.url, timeout=120) as client:
        found = await client.run(wanted)
        (run,) = found["runs"]
        assert (run["outcome"], run["verdict"], run["stdout_total"]) == ("ok", None, len(data))
        assert run["stderr"] == f"{hashlib.sha256(data).hexdigest()} {len(data)}\n"
        assert await client.raw(found["id"], "runs/0", "stdout") == data

        cases = [
            {"stdin": text, "expected_stdout": text.replace(" \n", "\n"), "compare": "trailing"},
            {"stdin": text[:-3], "expected_stdout": text[:-3] + "x", "compare": "exact"},
        ]
        found = await client.run(body(echo, cases[:1]))
        assert [run["verdict"] for run in found["runs"]] == ["accepted"]
        found = await client.run(body(echo, cases[1:]))
        assert [run["verdict"] for run in found["runs"]] == ["wrong-answer"]


async def test_text_that_is_cut_within_a_letter_is_base64_and_whole_text_is_text(running):
    wanted = body("print('é' * 1000, end='')")
    wanted["limits"]["run"]["stdout_bytes"] = 999
    async with Client(running.url) as client:
        (run,) = (await client.run(wanted))["runs"]
        assert run["stdout_encoding"] == "base64"
        assert base64.b64decode(run["stdout"]) == ("é" * 1000).encode()[:999]
        (run,) = (await client.run(body("print('é\\0\\x01', end='')")))["runs"]
        assert (run["stdout"], run["stdout_encoding"]) == ("é\0\x01", "utf8")


EVERY_BYTE = bytes(range(1, 256))
ARGUMENTS = [b"", b"plain", EVERY_BYTE, b"\xff", b"\xe2\x80' $(id)", b"\n", b"-n", "é".encode()]
SHOW_ARGUMENTS = (
    "import json, os, sys\nprint(json.dumps([os.fsencode(arg).hex() for arg in sys.argv[1:]]))\n"
)


@pytest.mark.parametrize("locale", ["", ' LC_ALL = "C.UTF-8";'])
async def test_arguments_are_any_bytes_that_a_shell_can_pass(running, locale):
    cases = [
        {"args": [arg.hex() for arg in ARGUMENTS], "args_encoding": "hex"},
        {"args": [base64.b64encode(a).decode() for a in ARGUMENTS], "args_encoding": "base64"},
        {"args": ["é", "", "a b", "'\"\\"]},
        {},
    ]
    async with Client(running.url) as client:
        found = await client.run(body(SHOW_ARGUMENTS, cases, shell=locale))
    heard = [json.loads(run["stdout"]) for run in found["runs"]]
    as_hex = [arg.hex() for arg in ARGUMENTS]
    assert heard == [as_hex, as_hex, [arg.encode().hex() for arg in cases[2]["args"]], []]
    shown = found["request"]["test_cases"]
    assert [case["args_encoding"] for case in shown] == ["base64", "base64", "utf8", "utf8"]
    assert shown[2]["args"] == cases[2]["args"]


async def test_after_the_first_failure_no_other_case_runs_where_that_is_asked(running):
    main = "import sys, time\nn = int(input())\nif n == 2: time.sleep(30)\nsys.exit(n == 1)"
    cases = [{"stdin": str(n), "expected_stdout": ""} for n in (0, 1, 2, 2)]
    async with Client(running.url) as client:
        found = await client.run(body(main, cases, stop_on_failure=True), within=20)
        names = [event["event"] for event in await client.history(found["id"])]
    assert [run["verdict"] for run in found["runs"]] == ["accepted", "nonzero-exit"]
    assert found["verdict"] == "nonzero-exit"
    assert found["request"]["stop_on_failure"] is True
    assert names.count("ran") == 2
    assert names[-1] == "finished"


async def test_cpu_time_is_told_by_kind_and_adds_up(running):
    user = "import time\nwhile time.process_time() < 0.5: sum(range(100_000))"
    # not os.urandom: newer C libraries do that without the kernel
    system = (
        "import time\nzero = open('/dev/zero', 'rb', 0); room = bytearray(8 << 20)\n"
        "while time.process_time() < 0.5: zero.readinto(room)"
    )
    async with Client(running.url) as client:
        for main, more in ((user, "cpu_user_seconds"), (system, "cpu_system_seconds")):
            (run,) = (await client.run(body(main)))["runs"]
            both = run["cpu_user_seconds"] + run["cpu_system_seconds"]
            assert both == pytest.approx(run["cpu_seconds"], abs=0.1)
            assert run[more] > both / 2, (more, run)
