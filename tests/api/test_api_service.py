"""Health, metrics, docs, and the list with a projector beside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from contextlib import suppress

import httpx
import pytest

from api.models import BuiltAnswer, BuiltEnvironmentAnswer, PageAnswer, SubmissionAnswer
from api.schema import EXAMPLE
from streams.content import inline
from streams.environments import Environment
from tests.api.api_harness import running
from tests.api.api_stories import built, finish

pytestmark = pytest.mark.integration


async def projected(api):
    generation = await api.services.model.live()
    last = await api.log.last_sequence()
    async with asyncio.timeout(10):
        while await generation.checkpoint() < last:
            await asyncio.sleep(0.05)


def flat(found):
    return [id_ for page in found for id_ in page]


async def pages(api, **params):
    """Every page's ids, following `next`."""
    found = []
    while True:
        answer = await api.get("/submissions", params=params)
        page = PageAnswer.model_validate(answer.json())
        found.append([one.id for one in page.submissions])
        if page.next is None:
            return found
        params["cursor"] = page.next


async def test_the_list_is_newest_first_in_pages_without_gap_or_double(api, projector):
    ids = [await api.new() for _ in range(5)]
    ids += [(await api.post(headers={"Idempotency-Key": f"k{n}"})).json()["id"] for n in range(5)]
    ids += [await api.new(cache=False) for _ in range(3)]
    await projected(api)
    for limit in (1, 2, 3, 13, 100):
        found = await pages(api, limit=limit)
        assert flat(found) == ids[::-1]
        assert all(len(page) <= limit for page in found)


async def test_a_cursor_beyond_the_log_is_the_newest_page(api, projector):
    ids = [await api.new() for _ in range(3)]
    await projected(api)
    for cursor in (7, 10**15, 10**40):
        assert await pages(api, cursor=cursor) == [ids[::-1]]


async def test_the_list_filters_by_status(api, projector):
    ids = [await api.new() for _ in range(6)]
    for id_ in ids[::2]:
        await finish(api, id_)
    await projected(api)
    assert flat(await pages(api, status="finished", limit=2)) == ids[::2][::-1]
    assert flat(await pages(api, status="deps-queued")) == ids[1::2][::-1]
    assert flat(await pages(api, status="failed")) == []


async def test_what_the_read_model_holds_is_what_the_log_says(api, projector):
    """The same answer from the read model, from its entry and the rest, and from the log alone."""
    id_ = await api.new()
    from_log = (await api.get(f"/submissions/{id_}")).json()
    await projected(api)
    assert (await api.get(f"/submissions/{id_}")).json() == from_log
    await finish(api, id_)
    entry_and_rest = (await api.get(f"/submissions/{id_}")).json()
    await projected(api)
    assert (await api.get(f"/submissions/{id_}")).json() == entry_and_rest
    SubmissionAnswer.model_validate(entry_and_rest)


async def test_readyz_reports_the_projectors_lag(api, projector):
    await api.new()
    await projected(api)
    ready = (await api.get("/readyz")).json()
    assert ready["status"] == "ready"
    assert ready["projector"]["lag"] == 0
    assert ready["last_sequence"] == 2


async def test_metrics_count_by_route_not_by_id(api):
    id_ = await api.new()
    await api.get(f"/submissions/{id_}")
    await api.get("/submissions/nobody")
    await api.get("/no/such/thing")
    text = (await api.get("/metrics")).text
    assert 'route="/submissions/{submission_id}",status="200"} 1' in text
    assert 'route="/submissions/{submission_id}",status="404"} 1' in text
    assert id_ not in text
    assert "no/such" not in text


async def test_methods_of_a_clients_own_are_one_label(api):
    for n in range(5):
        await api.client.request(f"M{'ABCDE'[n]}", "/submissions")
    text = (await api.get("/metrics")).text
    assert 'method="(other)"' in text
    assert 'method="M' not in text


async def test_docs_need_nothing_from_elsewhere_and_their_example_works(api):
    assert (await api.get("/", follow_redirects=True)).status_code == 200
    page = (await api.get("/docs")).text
    assert "://" not in page.replace("http://127.0.0.1:8000", "")
    assert "<script" not in page
    document = (await api.get("/openapi.json")).json()
    content = document["paths"]["/submissions"]["post"]["requestBody"]["content"]
    answer = await api.client.post("/submissions", json=content["application/json"]["example"])
    assert answer.status_code == 201
    for path in document["paths"]:
        assert path in page
    # Every reference of the document and every link of the page leads somewhere.
    text = (await api.get("/openapi.json")).text
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= document["components"]["schemas"].keys()
    assert set(re.findall(r"href='#(\w+)'", page)) <= set(re.findall(r"<h3 id='(\w+)'", page))


async def test_languages_is_an_array(api):
    assert isinstance((await api.get("/languages")).json(), list)


async def test_environments_say_from_which_shell_they_were_built(api, projector):
    id_ = await api.new()
    environment = Environment(
        id="e" * 32, path="/nix/store/s", closure=("/nix/store/p",), profile=inline(b"{}")
    )
    event = built(id_).model_copy(update={"environment": environment})
    hit = built(await api.new(), "hit").model_copy(update={"environment": environment})
    async with api.says("builder") as builder:
        await builder.append(hit, after=(await api.log.state(hit.submission_id)).sequence)
        await builder.append(event, after=(await api.log.state(id_)).sequence)
    await projected(api)
    (line,) = (await api.get("/environments")).json()
    assert BuiltAnswer.model_validate(line).submission == f"/submissions/{id_}"
    answer = await api.get(f"/environments/{'e' * 32}")
    shown = BuiltEnvironmentAnswer.model_validate(answer.json())
    assert shown.how == "built"
    assert shown.closure == ["/nix/store/p"]
    assert [file["name"] for file in shown.files] == ["shell.nix"]
    for unknown in ("e", "*", "a.b", ">"):
        assert (await api.get(f"/environments/{unknown}")).status_code == 404


async def test_too_many_under_way_are_429_until_some_have_ended(nats, projector):
    async with running(nats, max_open_submissions=3) as api:
        ids = [await api.new() for _ in range(2)]
        key = {"Idempotency-Key": "k"}
        assert (await api.post(headers=key)).status_code == 201
        answer = await api.post()
        assert answer.status_code == 429
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert (answer.json()["open"], answer.json()["most"]) == (3, 3)
        assert (await api.post(headers=key)).status_code == 201
        assert await api.log.last_sequence() == 6
        await finish(api, ids[0])
        await projected(api)
        async with asyncio.timeout(20):  # it looks at the read model now and then
            while (answer := await api.post()).status_code == 429:
                await asyncio.sleep(0.1)
        assert answer.status_code == 201


async def test_too_many_under_way_are_429_without_a_projector_too(nats):
    async with running(nats, max_open_submissions=3) as api:
        for _ in range(3):
            await api.new()
        for _ in range(3):  # each time it looks at the read model again
            await asyncio.sleep(0.6)
            assert (await api.post()).status_code == 429


async def test_the_process_ends_on_sigterm_and_lets_go_of_who_waits(nats):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "SANDSTREAM_NATS_URL": nats.url, "SANDSTREAM_NATS_USER": "api",
        "SANDSTREAM_NATS_PASSWORD": nats.secrets["api"], "SANDSTREAM_PORT": str(port),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", env=env, stderr=asyncio.subprocess.PIPE
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        async with asyncio.timeout(20):
            while True:
                with suppress(httpx.ConnectError):
                    assert (await client.get("/readyz")).status_code == 200
                    break
                await asyncio.sleep(0.1)
        id_ = (await client.post("/submissions", json=EXAMPLE)).json()["id"]
        waiting = asyncio.create_task(client.get(f"/submissions/{id_}", params={"wait": 60}))
        following = asyncio.create_task(client.get(f"/submissions/{id_}/events"))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert (await waiting).json()["status"] == "deps-queued"
        assert "event: deps-queued" in (await following).text
    _, err = await asyncio.wait_for(process.communicate(), 10)  # 15 s, and it is killed
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
