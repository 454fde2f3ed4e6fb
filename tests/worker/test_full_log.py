"""A log with a small bound, filled by POSTs at the real API: 507, and an end for each accepted one.

The NATS server is real, and so is the worker's service; its containers answer by a script.
"""

from __future__ import annotations

import asyncio

import pytest

from api.schema import EXAMPLE
from init.frames import End, RunDone
from streams.errors import LogFull
from streams.events import CancelRequested, Started
from streams.room import ACCEPTING
from streams.setup import LogSettings, setup
from tests.api.api_harness import running
from tests.api.conftest import projector  # noqa: F401 - a fixture
from tests.worker.fake import echo, report
from tests.worker.test_service import serving  # noqa: F401 - a fixture

pytestmark = pytest.mark.integration

BOUND = 600_000
#: Uncached: a worker takes it as it is, without a builder.
BODY = EXAMPLE | {
    "cache": False,
    "files": [*EXAMPLE["files"], {"name": "padding", "content": "#" * 10_000}],
}


@pytest.fixture
async def small(nats):
    """An admin of a log with that bound."""
    async with nats.connect("admin") as admin:
        await setup(admin, LogSettings(lease_seconds=2, log_max_bytes=BOUND))
        yield admin


async def filled(api, body=BODY) -> list[str]:
    """The ids of what was accepted until the first 507."""
    ids = []
    for _ in range(200):
        answer = await api.post(body)
        if answer.status_code != 201:
            assert answer.status_code == 507, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["type"] == "/problems/log-full"
            assert "SUBMISSIONS is full" in problem["detail"]
            return ids
        ids.append(answer.json()["id"])
    raise AssertionError("it was never refused")


async def used(admin) -> int:
    return (await admin.jetstream().stream_info("SUBMISSIONS")).state.bytes


async def test_accepted_submissions_finish_in_the_rest_and_then_there_is_room_again(
    nats,
    small,
    client,
    serving,  # noqa: F811
    projector,  # noqa: F811
):
    async with running(nats) as api:
        ids = await filled(api)
        assert len(ids) > 5
        assert await used(small) < ACCEPTING * BOUND
        async with serving(echo):
            ended = [(await client.ended(id_))[0] for id_ in ids]
        assert {state.status for state in ended} == {"finished"}
        await asyncio.sleep(1)
        assert (await api.post(BODY)).status_code == 201


async def test_each_accepted_one_gets_its_end_though_their_output_needs_more_than_the_rest(
    nats,
    small,
    client,
    serving,  # noqa: F811
):
    def verbose(job):
        # many small ones: without the mark at 97 % they leave no room for an end
        return [*(RunDone(n, report(stdout=b"x" * 500)) for n in range(80)), End()]

    async with running(nats) as api:
        ids = await filled(api, BODY | {"test_cases": [{}] * 80})
        async with serving(verbose):
            ended = [(await client.ended(id_))[0] for id_ in ids]
    statuses = [state.status for state in ended]
    assert set(statuses) == {"finished", "failed"}, statuses
    reasons = {state.failures[-1] for state in ended if state.status == "failed"}
    assert all("SUBMISSIONS is full" in reason for reason in reasons), reasons
    assert await used(small) <= BOUND


async def test_above_97_percent_only_ends_are_written(nats, small, client):
    async with running(nats) as api:
        (first, second, *_) = await filled(api)
    await setup(small, LogSettings(lease_seconds=2, log_max_bytes=int(await used(small) / 0.98)))
    log = client.log
    state = await log.state(first)
    started = Started(submission_id=first, by="w", attempt=1, container="c")
    await asyncio.sleep(1)  # the room is looked at each second, and each time when nearly full
    with pytest.raises(LogFull, match="ends of submissions alone"):
        await log.append(started, after=state.sequence)
    state = await log.state(second)
    wish = CancelRequested(submission_id=second, by="w")
    assert await log.append(wish, after=state.sequence) > 0


async def test_environments_are_refused_as_submissions_are(nats, small):
    async with running(nats) as api:
        await filled(api)
        answer = await api.client.post("/environments", json={"files": EXAMPLE["files"][:1]})
        assert answer.status_code == 507


async def test_nearly_full_store_of_large_bodies_refuses_with_507(nats):
    async with nats.connect("admin") as admin, running(nats) as api:
        large = EXAMPLE["files"] + [{"name": "large", "content": "a" * 1_000_000}]
        assert (await api.post(EXAMPLE | {"files": large})).status_code == 201
        await setup(admin, LogSettings(lease_seconds=2, blobs_max_bytes=1_050_000))
        await asyncio.sleep(1.1)
        answer = await api.post()
        assert answer.status_code == 507
        assert "OBJ_blobs is full" in answer.json()["detail"]


async def test_both_streams_have_a_finite_bound_unless_told_otherwise(nats):
    async with nats.connect("admin") as admin:
        js = admin.jetstream()
        for stream in ("SUBMISSIONS", "OBJ_blobs"):
            assert (await js.stream_info(stream)).config.max_bytes > 0
        await setup(admin, LogSettings(lease_seconds=2, log_max_bytes=-1))
        assert (await js.stream_info("SUBMISSIONS")).config.max_bytes == -1
