"""Environments that are wanted for themselves: asked for, followed, shown, counted."""

from __future__ import annotations

import asyncio
import json

import pytest

from api import built as built_list
from api.models import BuiltEnvironmentAnswer, WantedAnswer
from builder.decide import wanted
from init.outcome import Outcome
from streams.blobs import Blobs
from streams.content import Packer, inline
from streams.environments import STORE_PATHS, Environment, StorePath
from streams.errors import LogUnavailable
from streams.events import WARM, DepsBuilt, DepsQueued, now
from streams.log import EventLog
from streams.queues import BUILDERS, FALLBACK, WARMING, WORKERS, deliveries
from streams.readmodel import Built, Generation, ReadModel
from streams.results import StageResult
from tests.api.api_harness import running
from tests.api.api_stories import built
from tests.api.test_api_doors import bearer, keys

pytestmark = pytest.mark.integration
SHELL = {"name": "shell.nix", "content": "{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { }\n"}
BODY = {"files": [SHELL, {"name": "main.py", "content": "passed over"}]}
PATHS = (
    StorePath(path="/nix/store/a", size_bytes=10, references=("/nix/store/b",)),
    StorePath(path="/nix/store/b", size_bytes=20),
)


async def warm(api, body=BODY, **params):
    return await api.client.post("/environments", json=body, params=params)


async def answer(api, id_, how="built", outcome=Outcome.OK):
    """What a builder says of it."""
    packer = Packer()
    environment = Environment(
        id=id_, path="/nix/store/a", closure=("/nix/store/a", "/nix/store/b"),
        profile=inline(b"{}"), size_bytes=30, paths=packer.aside(STORE_PATHS.dump_json(PATHS)),
    )  # fmt: skip
    event = DepsBuilt(
        submission_id=id_, by="builder@t", how=how, warm=True,
        result=StageResult(outcome=outcome, stderr=inline(b"its log\n")),
        environment=environment if outcome is Outcome.OK else None,
    )  # fmt: skip
    async with api.nats.connect("builder") as client:
        await Blobs(client).put_all(packer.blobs)
        log = EventLog(client)
        await log.append(event, after=(await log.state(id_, WARM)).sequence)
    return event


async def reaches(api, sequence):
    """Until the projector has come so far."""
    async with asyncio.timeout(15):
        while await (await api.services.model.live()).checkpoint() < sequence:
            await asyncio.sleep(0.05)


async def shown(api, id_):
    return BuiltEnvironmentAnswer.model_validate((await api.get(f"/environments/{id_}")).json())


async def heard(api, id_, **headers):
    """The events of a stream, to its end."""
    async with api.client.stream("GET", f"/environments/{id_}/events", headers=headers) as answer_:
        if answer_.status_code != 200:
            return answer_.status_code
        lines = [line async for line in answer_.aiter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_it_is_asked_for_followed_and_shown(api):
    asked = await warm(api)
    assert asked.status_code == 201
    id_ = WantedAnswer.model_validate(asked.json()).id
    assert asked.json()["status"] == "queued"
    assert asked.headers["location"] == f"/environments/{id_}"
    waiting = await shown(api, id_)
    assert (waiting.status, waiting.path, waiting.result) == ("queued", None, None)
    assert [file["name"] for file in waiting.files] == ["shell.nix"]
    following = asyncio.create_task(heard(api, id_))
    await asyncio.sleep(0.1)
    await answer(api, id_)
    events = await following
    assert [event["event"] for event in events] == ["deps-queued", "deps-built"]
    now = await shown(api, id_)
    assert (now.status, now.how, now.by, now.submission) == ("built", "built", "builder@t", None)
    assert (now.path, now.size_bytes, now.channel) == ("/nix/store/a", 30, "offline")
    assert [path.model_dump() for path in now.paths] == [
        path.model_dump() | {"references": list(path.references)} for path in PATHS
    ]
    assert now.result.stderr == "its log\n"
    assert await heard(api, id_, **{"Last-Event-ID": str(events[-1]["sequence"])}) == 204


async def test_asking_twice_at_once_is_asking_once_and_later_it_is_asked_again(api):
    answers = await asyncio.gather(*(warm(api) for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    id_ = answers[0].json()["id"]
    await answer(api, id_)
    again = await warm(api)
    assert (again.status_code, again.json()["status"]) == (201, "queued")
    assert (await shown(api, id_)).status == "built"  # as it was, until there is another answer
    await answer(api, id_, how="hit")
    assert [event["event"] for event in await heard(api, id_)] == ["deps-queued", "deps-built"]
    story = await api.log.history(id_, WARM)
    assert [event.event for event in story] == ["deps-queued", "deps-built"] * 2


async def cancel(api, id_, **kwargs):
    return await api.client.post(f"/environments/{id_}/cancel", **kwargs)


async def test_a_wish_is_withdrawn_and_can_be_made_again(api, projector):
    id_ = (await warm(api)).json()["id"]
    following = asyncio.create_task(heard(api, id_))
    await asyncio.sleep(0.1)
    for _ in range(2):
        answer_ = await cancel(api, id_)
        assert answer_.status_code == 202
        assert WantedAnswer.model_validate(answer_.json()).status == "cancelled"
    assert not wanted(await api.log.state(id_, WARM))
    assert [event["event"] for event in await following] == ["deps-queued", "cancel-requested"]
    assert (await shown(api, id_)).status == "cancelled"
    last = (await api.log.state(id_, WARM)).sequence
    await reaches(api, last)
    assert (await (await api.services.model.live()).progress()).open == 0
    assert await heard(api, id_, **{"Last-Event-ID": str(last)}) == 204

    assert (await warm(api)).status_code == 201
    assert wanted(await api.log.state(id_, WARM))
    await answer(api, id_)
    assert (await shown(api, id_)).status == "built"
    assert (await cancel(api, id_)).status_code == 409
    for unknown in ("e" * 32, "a.b", "*"):
        assert (await cancel(api, unknown)).status_code == 404


async def test_nobody_withdraws_anothers_wish(nats, projector, tmp_path):
    """Of three callers one has asked, one joins, and one never did."""
    file, made = keys(tmp_path, "grader", "notebook", "stranger")
    who = {name: {"headers": bearer(key)} for name, key in made.items()}
    async with running(nats, keys_file=file) as api:

        async def asks(name):
            return await api.client.post("/environments", json=BODY, **who[name])

        id_ = (await asks("grader")).json()["id"]
        assert [(await asks(name)).status_code for name in ("notebook", "notebook")] == [200, 200]
        for name in ("stranger", "grader", "grader"):
            answer_ = await cancel(api, id_, **who[name])
            assert (answer_.status_code, answer_.json()["status"]) == (202, "queued")
            assert wanted(await api.log.state(id_, WARM))
        told = await api.log.history(id_, WARM)
        assert [(event.event, event.caller) for event in told] == [
            ("deps-queued", "grader"), ("deps-queued", "notebook"), ("cancel-requested", "grader"),
        ]  # fmt: skip
        await reaches(api, told[-1].sequence)
        assert (await (await api.services.model.live()).progress()).open == 1
        answer_ = await cancel(api, id_, **who["notebook"])
        assert answer_.json()["status"] == "cancelled"
        assert not wanted(await api.log.state(id_, WARM))
        await reaches(api, told[-1].sequence + 1)
        assert (await (await api.services.model.live()).progress()).open == 0


async def test_one_waits_for_the_answer(api):
    asking = asyncio.create_task(warm(api, wait=10))
    while not (events := [event async for event in api.log.read(subject="environments.>")]):
        await asyncio.sleep(0.02)
    await answer(api, events[0].submission_id, outcome=Outcome.NONZERO_EXIT)
    body = BuiltEnvironmentAnswer.model_validate((await asking).json())
    assert (body.status, body.result.outcome) == ("failed", "nonzero-exit")
    assert (await warm(api, wait=0)).json()["status"] == "queued"


async def test_builders_take_it_and_workers_never_see_it(api, nats):
    id_ = (await warm(api)).json()["id"]
    await answer(api, id_)
    async with nats.connect("builder") as client:
        async for delivery in deliveries(client, WARMING):
            event = delivery.event
            assert isinstance(event, DepsQueued)
            assert (event.submission_id, event.environment_id, event.warm) == (id_, id_, True)
            break
    async with nats.connect("admin") as client:
        for queue in (BUILDERS, WORKERS, FALLBACK):
            info = await client.jetstream().consumer_info("SUBMISSIONS", queue.name)
            assert (info.num_pending, info.delivered.consumer_seq) == (0, 0)
    assert (await api.get(f"/submissions/{id_}")).status_code == 404
    assert (await api.get("/submissions")).json()["submissions"] == []


async def test_nobody_but_builders_may_answer(api, nats):
    id_ = (await warm(api)).json()["id"]
    event = DepsBuilt(
        submission_id=id_, by="x", how="built", result=StageResult(outcome=Outcome.OK), warm=True
    )
    for user in ("worker", "api"):
        async with nats.connect(user) as client:
            with pytest.raises(LogUnavailable):
                await EventLog(client, timeout=0.2).append(event, after=1)


async def test_uses_are_counted_once_whatever_is_read_again(api, projector):
    id_ = (await warm(api)).json()["id"]
    await answer(api, id_)
    environment = (await api.log.state(id_, WARM)).environment
    async with api.says("builder") as builder:
        for how in ("hit", "joined", "hit"):
            submission = await api.new()
            event = built(submission, how).model_copy(update={"environment": environment})
            last = (await api.log.state(submission)).sequence
            await builder.append(event, after=last)
    for _ in range(200):
        (line,) = (await api.get("/environments")).json() or [{"hits": None}]
        if line["hits"] == 3:
            break
        await asyncio.sleep(0.05)
    assert (line["hits"], line["how"], line["by"], line["status"]) == (
        3, "built", "builder@t", "built",
    )  # fmt: skip
    assert line["last_used"] > line["built_at"]
    assert (await shown(api, id_)).hits == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/files"),
        ([], ""),
        ({"files": []}, "/files"),
        ({"files": [SHELL], "test_cases": []}, "/test_cases"),
        ({"files": [SHELL], "language": "python"}, "/language"),
        ({"language": "klingon"}, "/language"),
        ({"files": [SHELL], "limits": {"run": {}}}, "/limits/run"),
        (
            {"files": [SHELL], "limits": {"dependencies": {"wall_seconds": 1e9}}},
            "/limits/dependencies/wall_seconds",
        ),
    ],
)
async def test_every_fault_is_told_with_its_field(api, body, field):
    answer_ = await warm(api, body)
    assert answer_.status_code == 422
    assert field in {fault["field"] for fault in answer_.json()["errors"]}


async def test_a_language_is_enough_and_its_environment_is_that_of_its_submissions(api):
    id_ = (await warm(api, {"language": "python"})).json()["id"]
    submission = await api.new(language="python", files=[{"name": "run.sh", "content": "true"}])
    assert (await api.get(f"/submissions/{submission}")).json()["environment"]["id"] == id_


async def test_what_nobody_asked_for_by_itself_has_no_events(api):
    for unknown in ("e" * 32, "*", "a.b", ">"):
        assert (await api.get(f"/environments/{unknown}/events")).status_code == 404


@pytest.mark.keep_days(1)
async def test_an_answer_whose_asking_has_left_the_log_is_still_told(api, projector):
    id_ = (await warm(api)).json()["id"]
    await answer(api, id_)
    await reaches(api, 2)
    async with api.nats.connect("admin") as admin:
        await admin.jetstream().purge_stream("SUBMISSIONS", seq=2)
    assert [event["event"] for event in await heard(api, id_)] == ["deps-built"]
    assert await heard(api, id_, **{"Last-Event-ID": "2"}) == 204
    assert (await shown(api, id_)).status == "built"


async def test_a_place_beyond_the_log_is_a_fault_or_the_beginning(api):
    id_ = (await warm(api)).json()["id"]
    refused = await api.get(f"/environments/{id_}/events", params={"after": 1_000})
    assert refused.status_code == 422
    assert "is 1000, and the log ends at 1:" in refused.json()["errors"][0]["message"]
    await answer(api, id_)
    told = await heard(api, id_, **{"Last-Event-ID": "1000"})
    assert [event["event"] for event in told] == ["deps-queued", "deps-built"]


async def of_many(api, count):
    """So many in the read model, each made at a place of its own; their ids, newest first."""
    ids = [f"{n:032x}" for n in range(count)]
    async with api.nats.connect("projector") as client:
        generation = await ReadModel(client).live()
        for place, id_ in enumerate(ids, start=1):
            made = Built(id=id_, how="built", submission_id="s", sequence=place, at=now())
            await generation.used(id_, lambda known, made=made: known or made)
    return ids[::-1]


async def test_the_list_is_newest_first_in_pages_without_gap_or_double(api):
    ids = await of_many(api, 7)
    for limit in (1, 2, 3, 7, 100):
        found, path = [], f"/environments?limit={limit}"
        while path is not None:
            page = await api.get(path)
            assert 0 < len(page.json()) <= limit
            found += [one["id"] for one in page.json()]
            path = page.links["next"]["url"] if "next" in page.links else None
        assert found == ids
    assert (await api.get("/environments", params={"cursor": 1})).json() == []
    assert (await api.get("/environments", params={"cursor": -1})).status_code == 422


async def test_many_who_list_at_once_are_one_who_reads(api, monkeypatch):
    ids = await of_many(api, 5)
    reads, environment = [], Generation.environment

    async def counted(generation, id_):
        reads.append(id_)
        return await environment(generation, id_)

    monkeypatch.setattr(Generation, "environment", counted)
    monkeypatch.setattr(built_list, "_PART", 10_000)  # longer than a busy machine takes for them
    lists = await asyncio.gather(*(api.get("/environments") for _ in range(20)))
    assert all([one["id"] for one in page.json()] == ids for page in lists)
    assert len(reads) == 5
