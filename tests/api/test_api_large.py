"""A submission whose outputs are large in its events: shown up to a bound, told piece by piece."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from api import rendering, views
from init.outcome import Outcome
from streams.content import inline
from streams.events import Finished, Ran, Started
from streams.results import RunResult
from tests.api.api_stories import built, tell

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
