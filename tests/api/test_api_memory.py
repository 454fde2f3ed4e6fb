"""What connections hold together is bounded: bodies that do not come to an end, answers unread."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import orjson
import pytest

from api import answers
from api.schema import EXAMPLE
from tests.api.api_harness import running
from tests.api.test_api_faults import files, is_problem
from tests.api.test_api_hostile import answer_to, connection, post, said, tells

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


def body(size):
    return orjson.dumps(files({"name": "x", "content": "x" * size}))


async def holds(api, size):
    async with asyncio.timeout(15):
        while api.services.bodies.held < size:
            await asyncio.sleep(0.02)


async def test_bodies_that_do_not_end_keep_out_large_ones_only_and_while_they_are_there(nats):
    async with running(nats, bodies_limit_bytes=3 * MIB, body_limit_bytes=2 * MIB) as api:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                _, writer = await stack.enter_async_context(connection(api))
                writer.write(post(b"x" * (MIB + MIB // 2), length=2 * MIB))
            await holds(api, int(2.8 * MIB))
            refused = await api.send("/submissions", body(MIB))
            problem = is_problem(refused, 503)
            assert problem["type"] == "/problems/busy"
            assert problem["most_bytes"] == 3 * MIB
            assert f"the most is {3 * MIB}" in problem["detail"]
            assert int(refused.headers["retry-after"]) > 0
            # By its declared length, before anything of it came; and not declared, as it grows.
            tells(await answer_to(api, post(b"", length=MIB)), 503)

            async def pieces():
                for piece in (body(MIB)[at : at + 65536] for at in range(0, MIB, 65536)):
                    yield piece

            is_problem(await api.send("/submissions", pieces()), 503)
            is_problem(await api.send("/environments", body(MIB)), 503)
            assert (await api.post()).status_code == 201
        async with asyncio.timeout(15):
            while api.services.bodies.held:
                await asyncio.sleep(0.02)
        answer = await api.send("/submissions", body(MIB))
        assert answer.status_code == 201


async def test_a_budget_below_one_body_is_that_of_one(nats):
    async with running(nats, bodies_limit_bytes=1, body_limit_bytes=MIB) as api:
        for _ in range(2):
            answer = await api.send("/submissions", body(MIB - 1000))
            assert answer.status_code == 201


async def test_every_end_of_a_body_gives_back_what_it_held(nats):
    async with running(nats, body_limit_bytes=MIB, body_seconds=1) as api:
        large = body(MIB // 2)
        assert (await api.send("/submissions", large)).status_code == 201
        for data in (large[:-1], b"x" * (MIB + 1)):
            answer = await api.send("/submissions", data)
            assert answer.status_code in {413, 422}
        tells(await answer_to(api, post(large[:-1], length=len(large))), 408)
        async with connection(api) as (_, writer):
            writer.write(post(large[:-1], length=len(large)))
            await holds(api, MIB // 4)
        async with asyncio.timeout(15):
            while api.services.bodies.held:
                await asyncio.sleep(0.02)


async def test_who_waits_for_the_end_holds_no_body(nats):
    async with running(nats) as api:
        waiting = asyncio.create_task(api.send("/submissions", body(MIB), params={"wait": 4}))
        await holds(api, 1)
        async with asyncio.timeout(15):
            while api.services.bodies.held:
                await asyncio.sleep(0.02)
        assert not waiting.done()
        assert (await waiting).status_code == 201


async def large_answer(api):
    """The request of one of some 12 MiB, more than the system's own buffers take."""
    some = [{"name": f"f{n}", "content": chr(97 + n) * MIB} for n in range(12)]
    answer = await api.post(EXAMPLE | files(*some))
    assert answer.status_code == 201
    path = f"/submissions/{answer.json()['id']}"
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def narrow(api):
    """A connection whose client has room for little."""
    base = api.client.base_url
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(0)
    await asyncio.get_running_loop().sock_connect(one, (base.host, base.port))
    return await asyncio.open_connection(sock=one, limit=65536)


async def test_who_takes_nothing_of_its_answer_is_cut_off(nats):
    async with running(nats, answer_seconds=0.5) as api:
        asking = await large_answer(api)
        reader, writer = await narrow(api)
        writer.write(asking)
        await asyncio.sleep(6)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await said(reader, 60)
        writer.close()


async def test_who_takes_its_answer_slowly_gets_all_of_it(nats):
    async with running(nats, answer_seconds=2) as api:
        asking = await large_answer(api)
        reader, writer = await narrow(api)
        writer.write(asking)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert length > 12 * MIB
        began = asyncio.get_running_loop().time()
        while length:
            length -= len(await reader.read(min(length, 131072)))
            await asyncio.sleep(0.06)
        assert asyncio.get_running_loop().time() - began > 2
        writer.close()


async def answers_hold(api, size):
    async with asyncio.timeout(30):
        while api.services.answers.held < size:
            await asyncio.sleep(0.02)


async def test_answers_that_are_not_taken_keep_out_large_ones_only_and_while_they_are_there(nats):
    async with running(nats, answers_limit_bytes=20 * MIB, answer_seconds=60) as api:
        asking = await large_answer(api)
        path = asking.split()[1].decode()
        reader, writer = await narrow(api)
        writer.write(asking)
        await answers_hold(api, 12 * MIB - 65536)
        refused = await api.client.get(path)
        problem = is_problem(refused, 503)
        assert problem["type"] == "/problems/busy"
        assert problem["most_bytes"] == 20 * MIB
        assert int(refused.headers["retry-after"]) > 0
        small = (await api.post()).json()["id"]
        assert (await api.client.get(f"/submissions/{small}")).status_code == 200
        del reader
        writer.transport.abort()
        async with asyncio.timeout(30):
            while api.services.answers.held:
                await asyncio.sleep(0.02)
        assert len((await api.client.get(path)).content) > 12 * MIB
        assert api.services.answers.held == 0


async def test_who_takes_a_little_now_and_then_is_cut_off_in_the_end(nats, monkeypatch):
    monkeypatch.setattr(answers, "_BYTES_PER_SECOND", 12 * MIB)
    async with running(nats, answer_seconds=2) as api:
        asking = await large_answer(api)
        reader, writer = await narrow(api)
        writer.write(asking)
        await reader.readuntil(b"\r\n\r\n")
        await answers_hold(api, 1)
        async with asyncio.timeout(60):
            while api.services.answers.held:
                await reader.read(2048)
                await asyncio.sleep(0.1)
        writer.close()
