"""Attacks on the doors, tried afresh by who did not write them: requests that two readers may read
in two ways, and the keys of others. Each list has its control: the plain request is let in.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest

from api.schema import EXAMPLE
from tests.api.api_harness import running
from tests.api.test_api_doors import bearer, keys
from tests.api.test_api_faults import is_problem

pytestmark = pytest.mark.integration
BODY = orjson.dumps(EXAMPLE)
KIND = "Content-Type: application/json"


async def statuses(api, data: bytes) -> list[int]:
    """Of each answer to what is sent over one connection, until its end or a silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.base_url.port)
    try:
        writer.write(data)
        said = b""
        while True:
            try:
                piece = await asyncio.wait_for(reader.read(1 << 16), 1.0)
            except (TimeoutError, ConnectionResetError):
                break
            if not piece:
                break
            said += piece
    finally:
        writer.close()
    return [int(one.split(maxsplit=1)[0]) for one in said.split(b"HTTP/1.1 ")[1:]]


def post(*headers: str, target: str = "/submissions", version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/{version}", *headers, "", ""]).encode()


def length(data: bytes = BODY) -> str:
    return f"Content-Length: {len(data)}"


def chunked(data: bytes = BODY) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"


#: Name, what is sent; `h` is our own host and port. None of them may leave an event.
TRICKS = {
    "no host": lambda h: post("Host:", KIND, length()) + BODY,
    "no host, HTTP/1.0": lambda h: post(KIND, length(), version="1.0") + BODY,
    "two hosts": lambda h: post(f"Host: {h}", "Host: evil.example", KIND, length()) + BODY,
    "whole address of another": lambda h: (
        post("Host: evil.example", KIND, length(), target=f"http://{h}/submissions") + BODY
    ),
    "our host as user of another": lambda h: post(f"Host: {h}@evil.example", KIND, length()) + BODY,
    "our host before another": lambda h: post(f"Host: {h}, evil.example", KIND, length()) + BODY,
    "our host below another": lambda h: post("Host: 127.0.0.1.evil.example", KIND, length()) + BODY,
    "forwarded host": lambda h: (
        post("Host: evil.example", f"X-Forwarded-Host: {h}", KIND, length()) + BODY
    ),
    "host folded": lambda h: post("Host: evil.example", f" {h}", KIND, length()) + BODY,
    "two origins": lambda h: (
        post(f"Host: {h}", "Origin: http://evil.example", f"Origin: http://{h}", KIND, length())
        + BODY
    ),
    "origin that begins as ours": lambda h: (
        post(f"Host: {h}", f"Origin: http://{h}.evil.example", KIND, length()) + BODY
    ),
    "origin with a user": lambda h: (
        post(f"Host: {h}", f"Origin: http://{h}@evil.example", KIND, length()) + BODY
    ),
    "origin beside spaces": lambda h: (
        post(f"Host: {h}", f"Origin: http://{h} http://evil.example", KIND, length()) + BODY
    ),
    "two kinds": lambda h: post(f"Host: {h}", "Content-Type: text/plain", KIND, length()) + BODY,
    "kind in a parameter": lambda h: (
        post(f"Host: {h}", "Content-Type: text/plain;application/json", length()) + BODY
    ),
    "a list of kinds": lambda h: (
        post(f"Host: {h}", "Content-Type: application/json, text/plain", length()) + BODY
    ),
    "form with another's method": lambda h: (
        post(f"Host: {h}", "X-HTTP-Method-Override: POST", length(), target="/submissions?_m=POST")
        + BODY
    ),
    "two lengths": lambda h: post(f"Host: {h}", KIND, length(), "Content-Length: 1") + BODY,
    "space before the colon": lambda h: (
        post(f"Host: {h}", KIND, "Content-Length : 3", "Transfer-Encoding : chunked") + chunked()
    ),
    "chunked twice": lambda h: (
        post(f"Host: {h}", KIND, "Transfer-Encoding: chunked, chunked") + chunked()
    ),
    "chunked by another name": lambda h: (
        post(f"Host: {h}", KIND, "Transfer-Encoding: xchunked") + chunked()
    ),
    "a chunk without its end": lambda h: (
        post(f"Host: {h}", KIND, "Transfer-Encoding: chunked")
        + f"{len(BODY):x}\r\n".encode() + BODY + b"xx0\r\n\r\n"
    ),
    "a chunk of less than nothing": lambda h: (
        post(f"Host: {h}", KIND, "Transfer-Encoding: chunked") + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "NUL in a header": lambda h: post(f"Host: {h}", "Origin: \0", KIND, length()) + BODY,
    "upgrade": lambda h: (
        post(f"Host: {h}", "Origin: http://evil.example", "Connection: Upgrade",
             "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==",
             KIND, length()) + BODY
    ),
}  # fmt: skip


async def test_no_request_that_can_be_read_in_two_ways_is_let_in(api):
    host = f"127.0.0.1:{api.client.base_url.port}"
    for name, make in TRICKS.items():
        told = await statuses(api, make(host))
        assert told, name
        assert all(400 <= status < 600 for status in told), (name, told)
        assert await api.log.last_sequence() == 0, name
    for plain in (length(), "Transfer-Encoding: chunked"):
        body = BODY if plain.startswith("Content") else chunked()
        assert await statuses(api, post(f"Host: {host}", KIND, plain) + body) == [201]


async def test_nothing_is_smuggled_behind_a_request_that_is_refused(nats, tmp_path):
    """A proxy before us may use one connection for many clients."""
    file, made = keys(tmp_path, "grader")
    async with running(nats, keys_file=file) as api:
        host = f"Host: 127.0.0.1:{api.client.base_url.port}"
        key = f"Authorization: Bearer {made['grader']}"
        inner = post(host, KIND, key, length()) + BODY
        # all of the inner request is the outer one's body, refused or not
        for refused in ((), ("Authorization: Bearer wrong",)):
            told = await statuses(api, post(host, KIND, *refused, length(inner)) + inner)
            assert told == [401], told
        # the length says less than the chunks: who counts by it would see a second request
        outer = post(host, KIND, key, "Content-Length: 5", "Transfer-Encoding: chunked")
        told = await statuses(api, outer + chunked(b"") + inner)
        assert len(told) <= 2, told
        assert 201 not in told[:1], told
        before = await api.log.last_sequence()
        assert before in {0, 2}  # the second is a request of its own, with a key of its own
        assert await statuses(api, inner) == [201]
        assert await api.log.last_sequence() == before + 2


async def test_a_key_is_known_in_its_own_letters_alone(nats, tmp_path):
    file, made = keys(tmp_path, "grader", "notebook")
    key = made["grader"]
    async with running(nats, keys_file=file) as api:
        host = f"127.0.0.1:{api.client.base_url.port}"
        for said in (
            key.swapcase(), f"{key}\0", f'"{key}"', f"{key},{made['notebook']}", f"{key} {key}",
            f"{key}=", key.replace(key[0], f"%{ord(key[0]):02x}", 1), key[1:], f"Bearer {key}",
        ):  # fmt: skip
            head = f"GET /submissions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {said}"
            told = await statuses(api, f"{head}\r\n\r\n".encode())
            assert told in ([401], [400]), said
        for where in (f"/submissions?access_token={key}", f"/submissions?key={key}"):
            is_problem(await api.get(where, headers={"Cookie": f"key={key}"}), 401)
        for path in ("//healthz", "/healthz/../submissions", "/healthz/", "/%2e%2e/submissions",
                     "/submissions;/healthz", "/HEALTHZ", "/healthz%00"):  # fmt: skip
            head = f"GET {path} HTTP/1.1\r\nHost: {host}"
            told = await statuses(api, f"{head}\r\n\r\n".encode())
            assert told in ([401], [400]), path
        assert (await api.get("/submissions", headers=bearer(key))).status_code == 200
