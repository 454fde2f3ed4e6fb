"""Bad input, case by case, at the real API: a 4xx in words, and no event in the log."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from api.limits import GROUPS
from api.schema import EXAMPLE
from tests.api.api_harness import running

pytestmark = pytest.mark.integration

_HEAD = b"POST /submissions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
SHELL, RUN, MAIN = EXAMPLE["files"]


def files(*more):
    return {"files": [SHELL, RUN, *more]}


def named(name):
    return files({"name": name, "content": ""})


def case(**fields):
    return files() | {"test_cases": [fields]}


def limit(**fields):
    return files() | {"limits": {"run": fields}}


NAMES = {
    "empty": "", "absolute": "/etc/passwd", "dotdot": "../x", "dotdot inside": "a/../b",
    "dotdot at the end": "a/..", "lone dot": ".", "dot inside": "a/./b", "two slashes": "a//b",
    "slash at the end": "a/", "NUL": "a\0b", "newline": "a\nb", "escape": "a\x1b[31m",
    "delete": "a\x7f", "C1": "a\x85b", "backslash": "a\\b", "long": "a/" * 300 + "b",
    "long part": "x" * 256, "duplicate": "run.sh", "folder of a file": "run.sh/x",
    "long in bytes": "é" * 128,
}  # fmt: skip

#: what -> (body, field of one of the faults, words of its message)
FAULTS = {
    **{f"name: {what}": (named(name), "/files/2/name", "") for what, name in NAMES.items()},
    "no body fields": ({}, "/files", "missing"),
    "an array": ([], "", "object"),
    "a string": ("x", "", "object"),
    "null": (None, "", "object"),
    "no shell.nix": ({"files": [RUN]}, "/files", "shell.nix is missing"),
    "no run.sh": ({"files": [SHELL]}, "/files", "run.sh is missing"),
    "no files": ({"files": []}, "/files", "run.sh is missing"),
    "files null": ({"files": None}, "/files", "array"),
    "files an object": ({"files": {}}, "/files", "array"),
    "a file null": (files(None), "/files/2", "object"),
    "a file without name": (files({"content": ""}), "/files/2/name", "missing"),
    "a file without content": (files({"name": "a"}), "/files/2/content", "missing"),
    "a number as content": (files({"name": "a", "content": 1}), "/files/2/content", "string"),
    "a number as name": (files({"name": 1, "content": ""}), "/files/2/name", "string"),
    "a file's unknown field": (
        files({"name": "a", "content": "", "mode": 1}), "/files/2/mode", "not a known field",
    ),
    "encoding": (
        files({"name": "a", "content": "", "encoding": "utf16"}), "/files/2/encoding", "base64",
    ),
    "encoding a list": (
        files({"name": "a", "content": "", "encoding": []}), "/files/2/encoding", "",
    ),
    "not base64": (
        files({"name": "a", "content": "ä", "encoding": "base64"}), "/files/2/content", "base64",
    ),
    "base64 cut short": (
        files({"name": "a", "content": "YWJ", "encoding": "base64"}), "/files/2/content", "base64",
    ),
    "not hex": (
        files({"name": "a", "content": "xy", "encoding": "hex"}), "/files/2/content", "hex",
    ),
    "odd hex": (
        files({"name": "a", "content": "abc", "encoding": "hex"}), "/files/2/content", "hex",
    ),
    "folder named as a file": (
        files({"name": "a/b", "content": ""}, {"name": "a", "content": ""}),
        "/files/2/name", "rename one",
    ),
    "too many files": (
        files(*({"name": f"f{i}", "content": ""} for i in range(1000))), "/files", "maximum 1000",
    ),
    "env": (files() | {"env": {"A": "b"}}, "/env", "shell.nix"),
    "unknown field": (files() | {"langauge": "python"}, "/langauge", "spelling"),
    "a field with slashes": (files() | {"a/b~c": 1}, "/a~1b~0c", "not a known field"),
    "cache a string": (files() | {"cache": "yes"}, "/cache", "true or false"),
    "cache a number": (files() | {"cache": 1}, "/cache", "true or false"),
    "cache null": (files() | {"cache": None}, "/cache", "true or false"),
    "limits a list": (files() | {"limits": []}, "/limits", "object"),
    "a stage that is none": (files() | {"limits": {"link": {}}}, "/limits/link", ""),
    "a limit that is none": (limit(gpu=1), "/limits/run/gpu", "wall_seconds"),
    "a limit as string": (limit(processes="9"), "/limits/run/processes", "whole number"),
    "a limit as bool": (limit(processes=True), "/limits/run/processes", "whole number"),
    "a fraction of a byte": (limit(memory_bytes=1.5), "/limits/run/memory_bytes", "whole"),
    "an immense limit": (limit(memory_bytes=10**30), "/limits/run/memory_bytes", "4294967296"),
    "an immense time": (limit(wall_seconds=1e300), "/limits/run/wall_seconds", "60"),
    "the negative most": (limit(wall_seconds=-(2**63)), "/limits/run/wall_seconds", "above 0"),
    "cases an object": (files() | {"test_cases": {}}, "/test_cases", "array"),
    "a case a string": (files() | {"test_cases": ["x"]}, "/test_cases/0", "object"),
    "too many cases": (files() | {"test_cases": [{}] * 513}, "/test_cases", "maximum 512"),
    "stdin a number": (case(stdin=1), "/test_cases/0/stdin", "string"),
    "stdin not base64": (
        case(stdin="!", stdin_encoding="base64"), "/test_cases/0/stdin", "base64",
    ),
    "expected not hex": (
        case(expected_stdout="0", expected_stdout_encoding="hex"),
        "/test_cases/0/expected_stdout", "hex",
    ),
    "args a string": (case(args="-v"), "/test_cases/0/args", "array"),
    "an arg a number": (case(args=[1]), "/test_cases/0/args/0", "string"),
    "an arg with NUL": (case(args=["a\0"]), "/test_cases/0/args/0", "NUL"),
    "an arg with NUL in hex": (
        case(args=["00"], args_encoding="hex"), "/test_cases/0/args/0", "NUL",
    ),
    "an arg that is not base64": (
        case(args=["x", "é"], args_encoding="base64"), "/test_cases/0/args/1", "base64",
    ),
    "args encoding": (case(args_encoding="latin1"), "/test_cases/0/args_encoding", "hex"),
    "stop_on_failure a string": (files() | {"stop_on_failure": "no"}, "/stop_on_failure", "true"),
    "an arg too long": (case(args=["x" * 131072]), "/test_cases/0/args/0", "131071"),
    "args too long together": (
        files() | {"test_cases": [{"args": ["x" * 1000]}] * 200}, "/test_cases", "131072",
    ),
    "compare": (case(compare="fuzzy"), "/test_cases/0/compare", "trailing"),
    "compare float": (case(compare="float"), "/test_cases/0/compare", "float:1e-6"),
    "compare float:x": (case(compare="float:x"), "/test_cases/0/compare", "float:1e-6"),
    "compare float:nan": (case(compare="float:nan"), "/test_cases/0/compare", "float:1e-6"),
    "compare float:-1": (case(compare="float:-1"), "/test_cases/0/compare", "float:1e-6"),
    "compare float:1e999": (case(compare="float:1e999"), "/test_cases/0/compare", "float:1e-6"),
    "compare of many digits": (
        case(compare=f"float:0.{'0' * 56}1"), "/test_cases/0/compare",
        "65 characters long, the most is 64: write it shorter, for example float:1e-6",
    ),
    "compare of a megabyte": (
        case(compare=f"float:0.{'0' * 2**20}1"), "/test_cases/0/compare", "the most is 64",
    ),
    "compare null": (case(compare=None), "/test_cases/0/compare", "string"),
    "a case's env": (case(env={}), "/test_cases/0/env", "shell.nix"),
    **{
        f"{group} {one.name} {word}": (
            files() | {"limits": {group: {one.name: value}}},
            f"/limits/{group}/{one.name}",
            f"{one.maximum:.15g}",
        )
        for group, bounds in GROUPS.items()
        for one in bounds
        for word, value in (
            ("zero", 0), ("negative", -1), ("above", one.kind(one.maximum) + 1),
        )
    },
}  # fmt: skip

#: Bytes that are no JSON, or JSON that no program should choke on.
BYTES = {
    "nothing": b"", "text": b"hello", "half": b'{"files": [', "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}', "1e400": b'{"a": 1e400}',
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "deep arrays": b"[" * 100_000, "deep and closed": b"[" * 1000 + b"]" * 1000,
    "deep unknown field": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    "deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
    "lone surrogate": b'{"files": "\\ud800"}', "not UTF-8": b'{"files": "\xff"}',
    "UTF-16": '{"files": []}'.encode("utf-16"), "BOM": b"\xef\xbb\xbf{}", "NULs": b"\0" * 100,
    "form": b"files=x&cache=1", "two documents": b"{}{}",
}  # fmt: skip


def is_problem(answer, *statuses):
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert {"type", "title", "status", "detail"} <= problem.keys()
    return problem


async def test_every_fault_is_told_with_its_field_and_leaves_no_event(api):
    """One server for the whole table: a start for each of its rows would take minutes."""
    assert len(FAULTS) >= 60
    for what, (body, field, words) in FAULTS.items():
        data = (
            orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_DATACLASS)
            if "immense limit" not in what
            else str(body).replace("'", '"').encode()
        )
        answer = await api.send("/submissions", data)
        problem = is_problem(answer, 422)
        found = [one["message"] for one in problem["errors"] if one["field"] == field]
        assert found, (what, problem)
        assert any(words in message for message in found), (what, found)
    assert await api.log.last_sequence() == 0


async def test_what_is_not_json_is_422_and_leaves_no_event(api):
    for what, data in BYTES.items():
        problem = is_problem(await api.send("/submissions", data), 422)
        assert problem["errors"], what
    assert await api.log.last_sequence() == 0


async def test_all_faults_are_told_at_once(api):
    body = {
        "files": [{"name": "/a", "content": "?", "encoding": "hex"}, {"name": "b"}, 3],
        "cache": 0, "env": {}, "limits": {"run": {"processes": -1, "memory_bytes": 2**40}},
        "test_cases": [{"compare": "x", "args": ["\0"]}],
    }  # fmt: skip
    problem = is_problem(await api.post(body), 422)
    assert sorted(one["field"] for one in problem["errors"]) == sorted([
        "/files/0/name", "/files/0/content", "/files/1/content", "/files/2", "/files", "/files",
        "/cache", "/env", "/limits/run/processes", "/limits/run/memory_bytes",
        "/test_cases/0/compare", "/test_cases/0/args/0",
    ])  # fmt: skip


async def test_what_is_odd_but_right_is_accepted(api):
    body = {
        "files": [
            SHELL, RUN,
            {"name": "ünï/cödé.txt", "content": "AP8=\n", "encoding": "base64"},
            {"name": "-rf", "content": "00fF", "encoding": "hex"},
            {"name": "…hidden/.x", "content": "\0"},
        ],
        "limits": {"run": None, "compile": {"wall_seconds": None, "cpu_seconds": 0.25}},
        "test_cases": [
            {"compare": f"float:0.{'0' * 55}1"},
            {"compare": "float:1e-6", "args": ["", "*", "$(x)"]}, {"stdin": "\0"},
        ],
    }  # fmt: skip
    assert (await api.post(body)).status_code == 201
    assert (await api.post(files() | {"test_cases": None, "limits": None})).status_code == 201
    assert (await api.post(files() | {"test_cases": []})).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("PUT", "/submissions", 405), ("DELETE", "/submissions/a", 405),
        ("GET", "/submissions/a/b/c/d/e", 404), ("POST", "/submissions?wait=x", 422),
        ("POST", "/submissions?wait=-1", 422), ("POST", "/submissions?wait=nan", 422),
        ("GET", "/submissions?status=gone", 422), ("GET", "/submissions?limit=0", 422),
        ("GET", "/submissions?limit=101", 422), ("GET", "/submissions?cursor=-1", 422),
        ("GET", "/submissions?cursor=x", 422), ("GET", "/submissions/a?at=-1", 422),
        ("GET", "/submissions/a?at=x", 422), ("GET", "/submissions/a?wait=inf", 422),
        ("POST", "/submissions/a/cancel", 404), ("GET", "/submissions?cursor=" + "9" * 40, 200),
        ("GET", "/submissions/a?at=" + "9" * 40, 404),
    ],
)  # fmt: skip
async def test_each_wrong_call_is_a_problem(api, method, path, status):
    body = {"json": EXAMPLE} if method == "POST" else {}
    answer = await api.client.request(method, path, **body)
    if status == 200:
        assert answer.status_code == 200
    else:
        is_problem(answer, status)
    assert await api.log.last_sequence() == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_422(api, key):
    is_problem(await api.post(headers={"Idempotency-Key": key}), 422)
    assert await api.log.last_sequence() == 0


async def test_a_body_that_is_too_large_is_413_declared_or_not(nats):
    async with running(nats, body_limit_bytes=1_000_000) as api:

        async def chunks(count):
            for _ in range(count):
                yield b" " * 100_000

        is_problem(await api.send("/submissions", b" " * 1_000_001), 413)
        is_problem(await api.send("/submissions", chunks(50)), 413)
        body = orjson.dumps(EXAMPLE)
        answer = await api.send("/submissions", body + b" " * (10**6 - len(body)))
        assert answer.status_code == 201
        assert await api.log.last_sequence() == 2


async def test_a_declared_length_above_the_limit_is_413_though_nothing_follows(api):
    host, port = api.client.base_url.host, api.client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(_HEAD + b"Content-Length: 99999999999\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(1000), 15)
    assert answer.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_the_default_body_limit_is_32_mebibytes(api):
    big = EXAMPLE | {"files": [SHELL, RUN, {"name": "big", "content": "x" * (31 * 1024 * 1024)}]}
    assert (await api.post(big)).status_code == 201
    big["files"][2]["content"] = "x" * (32 * 1024 * 1024)
    is_problem(await api.post(big), 413)


async def test_an_event_of_the_worst_letters_still_fits_into_a_message(api):
    """A control character takes six bytes in JSON: the largest event that a request can make."""
    worst = "\x01" * 65536
    body = files(*({"name": f"f{i}", "content": worst} for i in range(16)))
    body["test_cases"] = [{"args": ["\x01" * 60000, "\x01" * 60000]}]
    assert (await api.post(body)).status_code == 201


async def test_a_client_that_goes_away_in_the_middle_leaves_no_event(api):
    host, port = api.client.base_url.host, api.client.base_url.port
    with socket.create_connection((host, port)) as one:
        one.sendall(_HEAD + b"Content-Length: 5000\r\n\r\n{")
    await asyncio.sleep(0.2)
    assert await api.log.last_sequence() == 0
    assert (await api.get("/healthz")).status_code == 200


async def test_without_the_log_every_call_is_503_at_once_and_health_says_why(api):
    id_ = await api.new()
    api.nats.process.terminate()
    await api.nats.process.wait()
    for method, path in (
        ("POST", "/submissions"), ("GET", f"/submissions/{id_}"), ("GET", "/submissions"),
        ("GET", f"/submissions/{id_}/events"), ("GET", f"/submissions/{id_}/history"),
        ("POST", f"/submissions/{id_}/cancel"),
    ):  # fmt: skip
        started = asyncio.get_running_loop().time()
        body = {"json": EXAMPLE} if method == "POST" else {}
        answer = await api.client.request(method, path, **body)
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert asyncio.get_running_loop().time() - started < 3
    ready = await api.get("/readyz")
    assert "NATS" in is_problem(ready, 503)["detail"]
    assert (await api.get("/healthz")).status_code == 200
    assert "sandstream_ready 0" in (await api.get("/metrics")).text
