"""The read model made anew while clients write and read over HTTP: nobody sees a gap."""

from __future__ import annotations

import asyncio

import pytest

from projector.rebuild import rebuild
from streams.log import EventLog
from streams.readmodel import ReadModel
from tests.api.api_harness import running
from tests.api.api_stories import finish
from tests.projector.test_projector import is_the_fold, reaches, serving

pytestmark = pytest.mark.integration
REBUILDS = 2


async def writing(api, over: asyncio.Event, ids: list[str]) -> None:
    """One submission after the other, each to its end."""
    while not over.is_set():
        id_ = await api.new()
        await finish(api, id_)
        ids.append(id_)
        await asyncio.sleep(0.2)  # so that one page holds them all


async def watching(api, over: asyncio.Event, ids: list[str], wrong: list[str]) -> int:
    """What was listed once is listed again, what had ended is still so; how often was looked."""
    seen: set[str] = set()
    looks = 0
    while not over.is_set():
        ended = list(ids)
        answer = await api.get("/submissions", params={"limit": 100})
        listed = {one["id"] for one in answer.json().get("submissions", [])}
        if answer.status_code != 200 or seen - listed:
            wrong.append(f"list: {answer.status_code}, {len(seen - listed)} of {len(seen)} gone")
        seen |= listed
        for id_ in ended[-3:]:
            found = (await api.get(f"/submissions/{id_}")).json()
            if found.get("status") != "finished":
                wrong.append(f"{id_}: {found}")
        looks += 1
    return looks


async def test_rebuilds_under_http_traffic_show_no_reader_a_gap(nats):
    ids: list[str] = []
    wrong: list[str] = []
    over = asyncio.Event()
    async with serving(nats) as client, running(nats) as api:
        log, model = EventLog(client), ReadModel(client)
        writers = [asyncio.create_task(writing(api, over, ids)) for _ in range(2)]
        readers = [asyncio.create_task(watching(api, over, ids, wrong)) for _ in range(2)]
        try:
            names = []
            for _ in range(REBUILDS):
                before = len(ids)
                report = await rebuild(client, log, model)
                assert report.comparison.differ == []
                assert len(ids) > before
                names.append(report.generation)
        finally:
            over.set()
            await asyncio.gather(*writers)
            looks = await asyncio.gather(*readers)
        assert names == ["b", "a"]
        assert wrong == []
        assert min(looks) > 10
        assert len(ids) < 100
        await reaches(model, await log.last_sequence())
        await is_the_fold(nats, ids)
        assert (await (await model.live()).progress()).open == 0
