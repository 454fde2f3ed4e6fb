"""A submission whose outputs are large in its events: shown up to a bound, told piece by piece."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from api import rendering, views
from init.outcome import Outcome
from streams.archived import Archived, Register
from streams.content import inline
from streams.events import Finished, Ran, Started
from streams.results import RunResult
from tests.api.api_stories import built, finish, tell

pytestmark = pytest.mark.integration
#: Six bytes each in JSON.
OUTPUT = b"\x01" * 65536
CASES = 12


async def large(api, *, ended=True):
    """Its id: about 9 MiB of events."""
    id_ = await api.new(test_cases=[{}] * CASES)
    last = (await api.log.state(id_)).sequence
    async with api.says("builder") as builder, api.says("worker") as worker:
        last = await tell(builder, [built(id_)], last)
        said = inline(OUTPUT)
        results = (
            RunResult(case=n, outcome=Outcome.OK, stdout=said, stderr=said, stdout_total=65536)
            for n in range(CASES)
        )
        runs = [Ran(submission_id=id_, by="w", attempt=1, result=result) for result in results]
        started = Started(submission_id=id_, by="w", attempt=1, container="c")
        end = [Finished(submission_id=id_, by="w", attempt=1, verdict="ok")] if ended else []
        last = await tell(worker, [started, *runs, *end], last)
    return id_, last


async def projected(api, last):
    async with asyncio.timeout(30):
        while await (await api.services.model.live()).checkpoint() < last:
            await asyncio.sleep(0.05)


async def test_the_object_has_its_largest_size_and_the_rest_is_raw(api, monkeypatch):
    monkeypatch.setattr(views, "IN_PLACE_TOTAL_BYTES", 2 * 1024 * 1024)
    id_, _ = await large(api)
    answer = await api.get(f"/submissions/{id_}")
    assert len(answer.content) < 2 * 1024 * 1024 + 65536
    runs = answer.json()["runs"]
    assert len(runs) == CASES
    assert runs[0]["stdout"].encode() == OUTPUT
    assert (runs[-1]["stdout"], runs[-1]["stdout_total"]) == (None, 65536)
    assert (await api.get(f"/submissions/{id_}/runs/{CASES - 1}/stdout")).content == OUTPUT


async def test_its_history_comes_in_pieces_and_is_every_event_as_recorded(api):
    id_, last = await large(api)
    answer = await api.get(f"/submissions/{id_}/history")
    assert answer.headers["content-type"] == "application/json"
    assert "content-length" not in answer.headers
    told = [views.event(event) for event in await api.log.history(id_)]
    assert answer.json() == orjson.loads(orjson.dumps(told))
    assert told[-1]["sequence"] == last
    small = await api.get(f"/submissions/{await api.new()}/history")
    assert "content-length" in small.headers
    assert [event["event"] for event in small.json()] == ["submitted", "deps-queued"]


async def test_who_has_heard_the_end_of_it_has_nothing_read(api, projector, monkeypatch):
    id_, last = await large(api)
    await projected(api, last)

    def read(**_):
        raise AssertionError("the log was read")

    monkeypatch.setattr(api.log, "read", read)
    answer = await api.get(f"/submissions/{id_}/events", params={"after": last})
    assert answer.status_code == 204


async def test_an_output_of_it_is_read_from_its_own_event(api, projector, monkeypatch):
    id_, last = await large(api, ended=False)
    other = inline(b"other" * 1000)
    async with api.says("worker") as worker:
        for n in (1, 2):
            result = RunResult(case=n, outcome=Outcome.OK, stdout=other, stdout_total=other.size)
            again = Started(submission_id=id_, by="w", attempt=n + 1, container="d")
            last = await worker.append(again, after=last)
            last = await worker.append(
                Ran(submission_id=id_, by="w", attempt=n + 1, result=result), after=last
            )
        for n in (0, 3):
            result = RunResult(case=n, outcome=Outcome.OK, stdout=inline(OUTPUT * (n or 5)))
            last = await worker.append(
                Ran(submission_id=id_, by="w", attempt=3, result=result), after=last
            )
    await projected(api, last)
    assert (await (await api.services.model.live()).get(id_))[0].elided
    read, reads = api.log.read, []

    def counted(*, subject, **kwargs):
        reads.append(subject)
        return read(subject=subject, **kwargs)

    monkeypatch.setattr(api.log, "read", counted)
    here = f"/submissions/{id_}"
    assert (await api.get(f"{here}/runs/2/stdout")).content == other.data.encode()
    assert (await api.get(f"{here}/runs/3/stdout")).content == OUTPUT * 3
    # Of an attempt that was lost, of no case, of no stage that was run, of no case's name.
    for path in ("runs/1/stdout", "runs/99/stdout", "compile/stdout", "runs/*/stdout", "runs/>/x"):
        assert (await api.get(f"{here}/{path}")).status_code == 404, path
    assert (await api.get(f"{here}/dependencies/stdout")).content == b""
    assert f"submissions.{id_}.>" not in reads


async def test_its_cancel_reads_none_of_its_story(api, projector, monkeypatch):
    """That would take longer than its next event to come, at each of its tries."""
    id_, last = await large(api, ended=False)
    await projected(api, last)
    read, began = api.log.read, []

    def counted(*, after=0, **kwargs):
        began.append(after)
        return read(after=after, **kwargs)

    monkeypatch.setattr(api.log, "read", counted)
    answer = await api.client.post(f"/submissions/{id_}/cancel")
    assert answer.status_code == 202
    assert began
    assert min(began) >= last
    assert (await api.log.state(id_)).cancel_requested


@pytest.mark.keep_days(1)
async def test_one_that_has_left_the_log_is_410_though_the_read_model_still_has_it(api, projector):
    id_, last = await large(api)
    await projected(api, last)
    async with api.nats.connect("admin") as admin:
        gone = Archived(id=id_, period="2026-01", sequence=1, status="finished")
        await Register(admin).note(gone)
        await admin.jetstream().purge_stream("SUBMISSIONS", seq=last + 1)
    for path in ("", "/events", "/history", "/runs/0/stdout"):
        assert (await api.get(f"/submissions/{id_}{path}")).status_code == 410, path


@pytest.mark.keep_days(1)
async def test_a_stream_of_what_has_ended_and_left_the_log_says_nothing_and_ends(api, projector):
    """In the moment before an archive run takes it out of the read model."""
    id_ = await api.new()
    last = await finish(api, id_)
    await projected(api, last)
    async with api.nats.connect("admin") as admin:
        await admin.jetstream().purge_stream("SUBMISSIONS", seq=last + 1)
    answer = await asyncio.wait_for(api.get(f"/submissions/{id_}/events"), 15)
    assert "event:" not in answer.text


@pytest.mark.parametrize("ended", [True, False])
async def test_who_waits_for_it_sees_all_of_it(api, projector, ended):
    id_, last = await large(api, ended=ended)
    await projected(api, last)
    answer = await api.get(f"/submissions/{id_}", params={"wait": 0.5})
    seen = answer.json()
    assert seen["status"] == ("finished" if ended else "ran")
    assert [run["stdout"].encode() for run in seen["runs"]] == [OUTPUT] * CASES
    assert len(seen["timeline"]) == CASES + (5 if ended else 4)


@pytest.mark.parametrize("sizes", [[], [1], [1, 1], [40], [40, 40], [1, 40, 1], [200]])
async def test_an_array_in_pieces_is_the_same_array(sizes, monkeypatch):
    monkeypatch.setattr(rendering, "_PIECE_BYTES", 32)
    items = ["x" * size for size in sizes]

    async def given():
        for item in items:
            yield item

    made = await rendering.array(given())
    if isinstance(made, rendering.Json):
        data = made.body
    else:
        data = b"".join([piece async for piece in made.body_iterator])
    assert orjson.loads(data) == items
