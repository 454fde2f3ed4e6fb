"""What arrives over a socket that no friendly client would send: told in words, or cut off."""

from __future__ import annotations

import asyncio
import gzip
import time
from contextlib import asynccontextmanager

import orjson
import pytest

from api.schema import EXAMPLE
from tests.api.api_harness import running
from tests.api.test_api_faults import is_problem

pytestmark = pytest.mark.integration
MIB = 1024 * 1024
BODY = orjson.dumps(EXAMPLE)


@asynccontextmanager
async def connection(api):
    base = api.client.base_url
    reader, writer = await asyncio.open_connection(base.host, base.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def post(body: bytes = BODY, *headers: str, length: int | None = None, host: str = "a") -> bytes:
    if not any(header.lower().startswith("content-type:") for header in headers):
        headers = ("Content-Type: application/json", *headers)
    lines = ["POST /submissions HTTP/1.1", f"Host: {host}", *headers,
             f"Content-Length: {len(body) if length is None else length}", "", ""]  # fmt: skip
    return "\r\n".join(lines).encode("latin-1") + body


async def said(reader, seconds: float = 5.0) -> tuple[int | None, dict, bytes]:
    """(status, headers, body) of one answer; (None, …) when the connection was cut instead."""
    async with asyncio.timeout(seconds):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None, {}, b""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body


async def answer_to(api, data: bytes, seconds: float = 5.0):
    async with connection(api) as (reader, writer):
        writer.write(data)
        return await said(reader, seconds)


def tells(answer, *statuses) -> str:
    """An answer that is a problem document of one of these statuses; its detail."""
    status, headers, body = answer
    assert status in statuses, answer
    assert headers["content-type"] == "application/problem+json"
    problem = orjson.loads(body)
    assert problem["status"] == status
    return problem["detail"]


#: what -> (bytes, statuses that may be answered, a word of the answer)
HOSTILE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, {400}, "HTTP"),
    "no version": (b"GET /healthz\r\n\r\n", {400}, "HTTP"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 404, 421}, ""),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", {400}, "Host"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}, "Host"),
    "a header without name": (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", {400}, "header"),
    "a header with NUL": (b"GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", {400}, "header"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", {400}, "header"),
    "one long header": (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 200_000, {400, 431}, ""),
    "many headers": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(20_000)),
        {400, 431}, "",
    ),
    "a long target": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n", {400, 414, 431}, ""),
    "a target with letters of its own": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", {400}, "HTTP"),
    "two lengths": (post(BODY, "Content-Length: 3"), {400}, "Content-Length"),
    "a negative length": (post(b"", length=-5), {400}, "Content-Length"),
    "a length of words": (
        b"POST /submissions HTTP/1.1\r\nHost: a\r\nContent-Length: ten\r\n\r\n", {400}, "Length",
    ),
    "an unknown transfer coding": (
        b"POST /submissions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        {400, 501}, "Transfer-Encoding",
    ),
    "a chunk of no size": (
        b"POST /submissions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        {400}, "",
    ),
    "another path in a percent code": (b"GET /%00%ff HTTP/1.1\r\nHost: a\r\n\r\n", {404}, ""),
    "a method of its own": (b"BREW /submissions HTTP/1.1\r\nHost: a\r\n\r\n", {405}, ""),
    "a web socket": (
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        {404}, "",
    ),
    "a form": (post(b"a=b", "Content-Type: application/x-www-form-urlencoded"), {415}, "JSON"),
    "a text that is JSON": (post(BODY, "Content-Type: text/plain"), {415}, "application/json"),
    "parts": (post(BODY, "Content-Type: multipart/form-data; boundary=x"), {415}, "JSON"),
    "a type that is none": (post(BODY, "Content-Type: ;;;/"), {415}, "JSON"),
    "gzip, said": (
        post(gzip.compress(BODY), "Content-Encoding: gzip", "Content-Type: application/json"),
        {415}, "gzip",
    ),
    "gzip, not said": (post(gzip.compress(BODY)), {422}, "not JSON"),
    "a byte order mark": (post(b"\xef\xbb\xbf" + BODY), {422}, "byte order mark"),
    "UTF-16": (post(BODY.decode().encode("utf-16")), {422}, "not JSON"),
    "garbage after the end": (post(BODY + b" x"), {422}, "not JSON"),
    "a second document": (post(BODY + BODY), {422}, "not JSON"),
    "a name twice": (post(BODY[:-1] + b',"files":[]}'), {422}, "'files' stands twice"),
    "a name twice, deeper": (
        post(BODY.replace(b'"wall_seconds":2', b'"wall_seconds":1,"wall_seconds":2')),
        {422}, "'wall_seconds' stands twice",
    ),
    "a name twice, once escaped": (
        post(BODY[:-1] + b',"cache":true,"c\\u0061che":false}'), {422}, "'cache' stands twice",
    ),
    "deep": (post(b'{"a":' * 900 + b"1" + b"}" * 900), {422}, "deeper"),
    "wide": (post(b'{"files":[' + b"{}," * 1_000_000 + b"{}]}"), {422}, "fields"),
    "many names": (
        post(b"{" + b",".join(b'"%d":1' % n for n in range(400_000)) + b"}"), {422}, "fields",
    ),
    "digits": (post(b'{"cache":' + b"1" * 100_000 + b"}"), {422}, ""),
}  # fmt: skip


async def test_each_is_a_problem_in_words_and_leaves_no_event(api):
    for what, (data, statuses, word) in HOSTILE.items():
        began = time.monotonic()
        answer = await answer_to(api, data)
        if answer[0] is not None:
            assert word in tells(answer, *statuses), (what, answer)
        assert answer[0] is not None or len(data) > 100_000, what
        assert time.monotonic() - began < 4, what
    assert await api.log.last_sequence() == 0
    assert (await api.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"files":[' + b"[]," * 149_000 + b"[]]}",
        b'{"test_cases":[{"args":[' + b"1," * 149_000 + b"1]}]}",
        b'{"files":[' + b'{"x":1},' * 999 + b"{}]}",
        b"{" + b",".join(b'"%d":1' % n for n in range(12_000)) + b"}",
        b'{"files":[{},' + b"[" * 30 + b"]" * 30 + b"]}",
        b'{"files":[{"name":"' + b"n" * 30 * MIB + b'","content":""}]}',
        b'{"files":[{"name":"n","encoding":"base64","content":"' + b"A " * 15 * MIB + b'!"}]}',
    ],
    ids=["files", "args", "fields", "names", "depth", "name", "spaces"],
)
async def test_a_multitude_of_faults_does_not_hold_up_the_others(api, body):
    """Each could be a fault of its own, and while they are counted nobody else is served."""
    began = time.process_time()
    problem = is_problem(await api.send("/submissions", body), 422)
    assert time.process_time() - began < 2
    assert 0 < len(problem["errors"]) <= 100


async def test_a_body_is_json_by_that_very_name(api):
    kinds = {
        "application/json; charset=utf-8": 201, "Application/JSON": 201, "application/x+json": 415,
        "text/json": 415, "": 415,
    }  # fmt: skip
    for kind, expected in kinds.items():
        status, _, _ = await answer_to(api, post(BODY, f"Content-Type: {kind}"))
        assert status == expected, kind


async def test_a_body_that_is_not_said_to_be_anything_is_415_and_none_at_all_is_not(api):
    """A page's form or script can send such a one anywhere, without asking first."""
    lines = "POST /submissions HTTP/1.1\r\nHost: a\r\n"
    sent = {
        "a length": f"{lines}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY,
        "chunks": f"{lines}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode(),
    }
    for what, data in sent.items():
        assert "Content-Type" in tells(await answer_to(api, data), 415), what
    assert await api.log.last_sequence() == 0
    id_ = await api.new()
    assert (await api.client.post(f"/submissions/{id_}/cancel")).status_code == 202


async def test_a_body_that_does_not_come_is_408(nats):
    async with running(nats, body_seconds=0.5) as api:
        answer = await answer_to(api, post(BODY[:100], length=len(BODY)))
        assert "0.5 s" in tells(answer, 408)
        assert answer[1]["connection"] == "close"
        assert await api.log.last_sequence() == 0


async def test_a_body_in_drops_is_408_too(nats):
    async with running(nats, body_seconds=1) as api, connection(api) as (reader, writer):
        writer.write(post(BODY[:1], length=len(BODY)))
        heard = asyncio.create_task(said(reader))
        while not heard.done():
            writer.write(b" ")
            await asyncio.sleep(0.1)
        tells(await heard, 408)
        assert await api.log.last_sequence() == 0


async def test_headers_that_do_not_come_are_408_and_silence_is_cut_off(nats):
    async with running(nats, header_seconds=0.5) as api:
        began = time.monotonic()
        tells(await answer_to(api, b"GET /healthz HTTP/1.1\r\nHost: a\r\n"), 408)
        assert (await answer_to(api, b""))[0] is None
        async with connection(api) as (reader, writer):  # drop by drop
            heard = asyncio.create_task(said(reader))
            for letter in b"GET /healthz HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 100:
                if heard.done():
                    break
                writer.write(bytes([letter]))
                await asyncio.sleep(0.02)
            tells(await heard, 408)
        assert time.monotonic() - began < 8


async def test_a_second_request_on_a_connection_has_its_own_clock(nats):
    async with running(nats, header_seconds=0.5) as api, connection(api) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await said(reader))[0] == 200
            await asyncio.sleep(0.7)  # between two requests the clock of idle connections runs
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        tells(await said(reader), 408)


async def test_a_long_answer_is_no_late_request(nats):
    async with running(nats, header_seconds=0.3) as api:
        id_ = await api.new()
        found = await api.get(f"/submissions/{id_}", params={"wait": 1})
        assert found.json()["status"] == "deps-queued"


async def test_a_thousand_silent_connections_keep_nobody_else_out(nats):
    async with running(nats, header_seconds=3) as api:
        base = api.client.base_url
        opened = [await asyncio.open_connection(base.host, base.port) for _ in range(1000)]
        for _, writer in opened[::2]:
            writer.write(b"POST /submissions HTTP/1.1\r\nHost: a\r\nContent-Le")
        began = time.monotonic()
        assert (await api.post()).status_code == 201
        assert time.monotonic() - began < 3
        cut = await asyncio.wait_for(asyncio.gather(*(said(r, 20) for r, _ in opened)), 25)
        assert {answer[0] for answer in cut} == {None, 408}
        for _, writer in opened:
            writer.close()


async def test_who_reads_nothing_holds_up_nobody(api):
    """Many questions in one connection, no answer read: the others are answered meanwhile."""
    async with connection(api) as (_, writer):
        for _ in range(200):
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
        began = time.monotonic()
        assert (await api.get("/healthz")).status_code == 200
        assert time.monotonic() - began < 3
