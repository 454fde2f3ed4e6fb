"""Who is let in: web pages of strangers, names that others have pointed at us, callers' keys."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import orjson
import pytest

from api.schema import EXAMPLE
from sandstream.client import ApiError, Client
from tests.api.api_harness import running
from tests.api.api_stories import finish
from tests.api.test_api_faults import is_problem
from tests.api.test_api_hostile import answer_to, tells

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
BODY = orjson.dumps(EXAMPLE)
EVIL = "http://evil.example"
PAGE = "https://judge.example"


def keys(folder: Path, *names: str) -> tuple[Path, dict[str, str]]:
    """A file with a key for each name."""
    made = {name: secrets.token_urlsafe(24) for name in names}
    file = folder / "keys"
    file.write_text("# callers\n\n" + "".join(f"{name} {key}\n" for name, key in made.items()))
    file.chmod(0o600)
    return file, made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def page_post(host: str, came_from: str, *headers: str, path: str = "/submissions") -> bytes:
    """As a browser sends a script's `fetch(..., {method: "POST", mode: "no-cors", body})`."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Origin: {came_from}", *headers,
             f"Content-Length: {len(BODY)}", "", ""]  # fmt: skip
    return "\r\n".join(lines).encode() + BODY


async def test_no_page_of_a_stranger_can_submit(api):
    host = f"127.0.0.1:{api.client.base_url.port}"
    kind = "Content-Type: application/json"
    for came_from in (EVIL, "null", "http://127.0.0.1:1", "http://127.0.0.1", f"ftp://{host}", ""):
        for headers in ((), (kind,)):
            answer = await answer_to(api, page_post(host, came_from, *headers))
            assert repr(came_from) in tells(answer, 403), came_from
            assert "access-control-allow-origin" not in answer[1]
    assert await api.log.last_sequence() == 0
    # without a type it is refused though it comes from a page of ours: it was not asked first
    tells(await answer_to(api, page_post(host, f"http://{host}")), 415)
    assert await api.log.last_sequence() == 0
    assert (await answer_to(api, page_post(host, f"http://{host}", kind)))[0] == 201


async def test_no_page_of_a_stranger_can_cancel(api):
    id_ = await api.new()
    before = await api.log.last_sequence()
    path = f"/submissions/{id_}/cancel"
    is_problem(await api.client.post(path, headers={"Origin": EVIL}), 403)
    is_problem(await api.client.post(path, content="x"), 415)
    assert await api.log.last_sequence() == before


HOSTS = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
    "evil.example/127.0.0.1", "localhost@evil.example", "evil.example#localhost", "10.0.0.1",
    "[::2]", "x" * 1000, "a,b", "",
]  # fmt: skip


async def test_a_name_that_its_owner_has_pointed_at_us_is_answered_by_nothing_of_ours(api):
    """After a rebound name, page and server are of one origin: the Host alone tells."""
    id_ = await api.new()
    before = await api.log.last_sequence()
    kind = "Content-Type: application/json"
    for host in HOSTS:
        answer = await answer_to(api, page_post(host, f"http://{host}", kind))
        assert "SANDSTREAM_ALLOWED_HOSTS" in tells(answer, 421), host
        for path in ("/", "/docs", "/openapi.json", "/metrics", "/submissions", "/languages",
                     f"/submissions/{id_}", f"/submissions/{id_}/events"):  # fmt: skip
            is_problem(await api.get(path, headers={"Host": host}), 421)
        for path in ("/healthz", "/readyz"):
            assert (await api.get(path, headers={"Host": host})).status_code in {200, 503}
    assert await api.log.last_sequence() == before


async def test_every_name_that_is_ours_is_answered(nats):
    ours = ("localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "[::1]:8000", "judge.example:1",
            "10.0.0.1", "10.0.0.2:80")  # fmt: skip
    others = {"published_address": "127.0.0.2", "allowed_hosts": "Judge.example, 10.0.0.1,10.0.0.2"}
    async with running(nats, **others) as api:
        for host in (*ours, "127.0.0.2"):
            assert (await api.get("/languages", headers={"Host": host})).status_code == 200, host


async def test_pages_of_a_named_origin_may_call_and_read(nats):
    async with running(nats, allowed_origins=f"{PAGE}, http://localhost:3000") as api:
        asked = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        preflight = await api.client.options("/submissions", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "Content-Type" in preflight.headers["access-control-allow-headers"]
        posted = await api.post(headers={"Origin": PAGE})
        assert posted.status_code == 201
        assert posted.headers["access-control-allow-origin"] == PAGE
        assert "Location" in posted.headers["access-control-expose-headers"]
        refused = await api.send("/submissions", b"{}", headers={"Origin": PAGE})
        assert is_problem(refused, 422)
        assert refused.headers["access-control-allow-origin"] == PAGE
        for other in ("https://judge.example.evil", "http://judge.example", EVIL):
            is_problem(
                await api.client.options("/submissions", headers=asked | {"Origin": other}), 403
            )
            is_problem(await api.post(headers={"Origin": other}), 403)


async def test_with_keys_nothing_but_health_is_answered_without_one(nats, tmp_path):
    file, made = keys(tmp_path, "grader")
    async with running(nats, keys_file=file) as api:
        id_ = (await api.post(headers=bearer(made["grader"]))).json()["id"]
        before = await api.log.last_sequence()
        document = (await api.get("/openapi.json", headers=bearer(made["grader"]))).json()
        paths = [*document["paths"], "/", "/docs", "/openapi.json", "/nothing"]
        wrong = secrets.token_urlsafe(24)
        sent = [{}, bearer(wrong), {"Authorization": "Bearer"}, {"Authorization": made["grader"]},
                {"Authorization": f"Basic {made['grader']}"}, bearer(made["grader"][:-1]),
                bearer("grader")]  # fmt: skip
        for path in {"/healthz", "/readyz"} ^ set(paths):
            here = path.replace("{submission_id}", id_)
            for headers in sent:
                for method in ("GET", "POST", "OPTIONS", "DELETE"):
                    answer = await api.client.request(method, here, headers=headers, json=EXAMPLE)
                    assert is_problem(answer, 401)["type"] == "/problems/key-needed"
                    assert answer.headers["www-authenticate"].startswith("Bearer")
                    assert made["grader"] not in answer.text
        assert await api.log.last_sequence() == before
        for path in ("/healthz", "/readyz"):
            assert (await api.get(path)).status_code in {200, 503}
        assert document["security"] == [{"key": []}]


async def test_a_large_body_without_a_key_is_told_so_and_not_cut_off(nats, tmp_path):
    file, _ = keys(tmp_path, "grader")
    async with running(nats, keys_file=file) as api:
        is_problem(await api.send("/submissions", b" " * 8_000_000), 401)


async def test_each_caller_has_a_key_and_the_client_sends_it(nats, tmp_path):
    file, made = keys(tmp_path, "grader", "notebook")
    async with running(nats, keys_file=file) as api:
        url = str(api.client.base_url).rstrip("/")
        for key in made.values():
            async with Client(url, key=key) as client:
                id_ = await client.submit(EXAMPLE)
                finishing = asyncio.create_task(finish(api, id_))
                names = [event.name async for event in client.events(id_)]
                await finishing
                assert names[-1] == "finished"
                assert (await client.end_of(id_, within=10))["status"] == "finished"
                assert (await client.page(limit=1)) is not None
                assert len(await client.history(id_)) == len(names)
        async with Client(url) as client:
            with pytest.raises(ApiError, match="Authorization: Bearer"):
                await client.submit(EXAMPLE)
            with pytest.raises(ApiError, match="401"):
                _ = [event async for event in client.events(id_)]


async def test_a_callers_idempotency_keys_are_its_own(nats, tmp_path):
    """Another's request under the same key neither stands in the way nor is told of."""
    file, made = keys(tmp_path, "grader", "notebook")
    same = {"Idempotency-Key": "order-1"}
    async with running(nats, keys_file=file) as api:
        ids = []
        for caller, body in (("grader", EXAMPLE), ("notebook", EXAMPLE | {"cache": False})):
            for replayed in (None, "true"):
                answer = await api.post(body, headers=bearer(made[caller]) | same)
                assert answer.status_code == 201, answer.text
                assert answer.headers.get("idempotency-replayed") == replayed
                ids.append(answer.json()["id"])
        assert ids[0] == ids[1] != ids[2] == ids[3]
        other = await api.post(EXAMPLE | {"cache": False}, headers=bearer(made["grader"]) | same)
        assert not any(id_ in other.text for id_ in ids)
        assert is_problem(other, 409)["type"] == "/problems/key-reused"


async def started(nats, **settings: str) -> tuple[int | None, str]:
    """`python -m api` with these settings: its status and words, None once it serves."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("SANDSTREAM_")}
    user = nats.settings("api")
    env |= {
        "SANDSTREAM_NATS_URL": user.nats_url,
        "SANDSTREAM_NATS_USER": user.nats_user,
        "SANDSTREAM_NATS_PASSWORD": user.nats_password.get_secret_value(),
        "SANDSTREAM_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", cwd=ROOT, stderr=asyncio.subprocess.PIPE, env=env | settings
    )
    said = b""
    try:
        async with asyncio.timeout(60):
            while line := await process.stderr.readline():
                said += line
                if b"Uvicorn running" in line:
                    return None, said.decode()
            return await process.wait(), said.decode()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def test_what_others_than_this_host_reach_is_not_served_without_keys(nats, tmp_path):
    file, _ = keys(tmp_path, "grader")
    for where in ({"SANDSTREAM_HOST": "0.0.0.0"}, {"SANDSTREAM_HOST": "::"},
                  {"SANDSTREAM_PUBLISHED_ADDRESS": "10.0.0.1"},
                  {"SANDSTREAM_PUBLISHED_ADDRESS": "judge.example"}):  # fmt: skip
        status, said = await started(nats, **where)
        assert status == os.EX_CONFIG, said
        assert said.startswith("wrong setting SANDSTREAM_KEYS_FILE: the API is published at ")
    # what counts is how it is reached, not what it binds, as in a container
    for where in ({"SANDSTREAM_HOST": "0.0.0.0", "SANDSTREAM_PUBLISHED_ADDRESS": "127.0.0.1"},
                  {"SANDSTREAM_HOST": "0.0.0.0", "SANDSTREAM_KEYS_FILE": str(file)}):  # fmt: skip
        status, said = await started(nats, **where)
        assert status is None, said


async def test_a_file_of_keys_that_others_can_read_is_not_used(nats, tmp_path):
    file, made = keys(tmp_path, "grader")
    file.chmod(0o640)
    status, said = await started(nats, SANDSTREAM_KEYS_FILE=str(file))
    assert status == os.EX_CONFIG
    assert "has mode 0640, others can read it" in said
    assert made["grader"] not in said
