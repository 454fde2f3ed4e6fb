"""The proxy on a real socket, before real listeners; only names are resolved by the test."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from contextlib import asynccontextmanager

import pytest

from egress import rules
from egress.proxy import Proxy, serving


@asynccontextmanager
async def listener(words=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"):
    """Answers each request with these words; gives its port and what it was asked.

    A connection counts from its first moment, as b"", though it may never ask anything.
    """
    asked: list[bytes] = []

    async def answer(reader, writer):
        asked.append(b"")
        try:
            asked[-1] = await reader.readuntil(b"\r\n\r\n")
            writer.write(words)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def asked_of(path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_what_is_allowed_is_fetched_and_nothing_else_is_connected_to(tmp_path, caplog):
    async with listener() as (port, asked), listener() as (other, nothing):
        allowed = rules.parse(f"127.0.0.1:{port}")
        async with serving(tmp_path / "proxy", allowed, "job 7"):
            got = await asked_of(
                tmp_path / "proxy", b"GET http://127.0.0.1:%d/x HTTP/1.1\r\n\r\n" % port
            )
            assert got.endswith(b"hello")
            with caplog.at_level(logging.WARNING):
                for _ in range(3):
                    refused = await asked_of(
                        tmp_path / "proxy",
                        b"GET http://127.0.0.1:%d/x HTTP/1.1\r\n\r\n" % other,
                    )
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert b"SANDSTREAM_DEPENDENCIES_ALLOW" in refused
        assert len(asked) == 1
        assert nothing == []
        assert [record.message for record in caplog.records] == [
            f"job 7: 127.0.0.1:{other} is not allowed: SANDSTREAM_DEPENDENCIES_ALLOW"
        ]


async def test_a_tunnel_carries_bytes_both_ways_until_either_side_ends(tmp_path):
    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, serving(tmp_path / "proxy", rules.parse(f"127.0.0.1:{port}"), "job"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "proxy"))
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        large = b"x" * 3_000_000
        sending = asyncio.create_task(_send(writer, large))
        assert await reader.readexactly(len(large)) == large.upper()
        await sending
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def _send(writer, data):
    writer.write(data)
    await writer.drain()


async def test_a_name_that_is_inside_is_refused_and_one_that_the_list_puts_there_is_not():
    async with listener() as (port, asked):

        async def inside(host, port):
            return ["10.0.0.1", "127.0.0.1", "::1"]

        name = Proxy(rules.parse(f"a.example:{port}"), "job", inside)
        with pytest.raises(Exception, match=r"a\.example:\d+ is at 10\.0\.0\.1, 127\.0\.0\.1"):
            await name._connected("a.example", port)
        anything = Proxy((rules.ANYTHING,), "job", inside)
        with pytest.raises(Exception, match="no address of the public internet"):
            await anything._connected("a.example", port)
        with pytest.raises(Exception, match="no address of the public internet"):
            await anything._connected("127.0.0.1", port)
        pinned = Proxy(rules.parse(f"a.example:{port}:127.0.0.1"), "job", inside)
        assert asked == []
        _, writer = await pinned._connected("a.example", port)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            while not asked:  # the control: who is let through is seen, though it asks nothing
                await asyncio.sleep(0.01)
        assert asked == [b""]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"x" * 100_000, b"400"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"502"),
        (b"CONNECT %s:443 HTTP/1.1\r\n\r\n" % (b"a" * 300 + b".x"), b"502"),
    ],
)
async def test_what_can_not_be_done_is_answered(tmp_path, request_, status):
    allowed = (*rules.parse("127.0.0.1:1"), rules.ANYTHING)
    async with serving(tmp_path / "proxy", allowed, "job"):
        assert (await asked_of(tmp_path / "proxy", request_)).split(b" ")[1] == status


async def test_a_name_that_nobody_knows_is_named():
    async def nobody(host, port):
        raise OSError("no such name")

    with pytest.raises(Exception, match=r"a\.example:443: no such name"):
        await Proxy(rules.parse("a.example"), "job", nobody)._connected("a.example", 443)


async def test_the_socket_is_its_owners_alone_and_goes_with_its_connections(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    async with listener() as (port, _):
        async with serving(deep / "proxy", rules.parse(f"127.0.0.1:{port}"), "job"):
            mode = (deep / "proxy").stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) & ~os.umask(os.umask(0o022)) == 0o600
            near = tmp_path / "near"
            near.symlink_to(deep)
            reader, writer = await asyncio.open_unix_connection(str(near / "proxy"))
            writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
            await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert not (deep / "proxy").exists()


async def test_without_a_rule_there_is_no_socket(tmp_path):
    async with serving(tmp_path / "proxy", (), "job"):
        assert not (tmp_path / "proxy").exists()
