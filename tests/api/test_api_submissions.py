"""Submitting, showing, waiting, cancelling: the real API over the real log."""

from __future__ import annotations

import asyncio
import base64

import pytest

from api.models import AcceptedAnswer, PageAnswer, SubmissionAnswer
from api.schema import EXAMPLE
from streams.blobs import Blobs
from streams.content import by_digest
from streams.errors import LogUnavailable
from streams.events import Cancelled, Failed
from tests.api.api_harness import running
from tests.api.api_stories import built, finish, tell, worker_events

pytestmark = pytest.mark.integration


async def test_post_answers_201_with_id_status_links_and_location(api):
    answer = await api.post()
    assert answer.status_code == 201
    said = AcceptedAnswer.model_validate(answer.json())
    assert answer.headers["location"] == f"/submissions/{said.id}" == said.links.self
    assert said.status == "deps-queued"
    history = await api.log.history(said.id)
    assert [event.event for event in history] == ["submitted", "deps-queued"]
    assert [file.name for file in history[1].files] == ["shell.nix"]


async def test_an_uncached_submission_asks_nothing_of_a_builder(api):
    id_ = await api.new(cache=False)
    assert [event.event for event in await api.log.history(id_)] == ["submitted"]


async def test_get_right_after_post_is_never_404_though_no_projector_runs(api):
    id_ = await api.new()
    shown = SubmissionAnswer.model_validate((await api.get(f"/submissions/{id_}")).json())
    assert shown.status == "deps-queued"
    assert shown.request["files"][2]["content"] == EXAMPLE["files"][2]["content"]
    assert shown.request["limits"]["run"]["wall_seconds"] == 2
    assert shown.runs == []


async def test_the_request_that_is_shown_can_be_posted_again(api):
    id_ = await api.new()
    first = (await api.get(f"/submissions/{id_}")).json()
    again = await api.post(first["request"])
    second = (await api.get(f"/submissions/{again.json()['id']}")).json()
    assert second["request"] == first["request"]
    assert second["environment"]["id"] == first["environment"]["id"]


async def test_the_whole_story_is_shown_in_one_shape(api):
    id_ = await api.new()
    await finish(api, id_, compiled=True)
    shown = SubmissionAnswer.model_validate((await api.get(f"/submissions/{id_}")).json())
    assert shown.status == "finished"
    assert shown.verdict == "accepted"
    assert shown.runs[0].stdout == "42\n"
    assert shown.compile is not None
    assert shown.environment.how == "built"
    assert [line.event for line in shown.timeline] == [
        "submitted", "deps-queued", "deps-built", "started", "compiled", "ran", "finished",
    ]  # fmt: skip


async def test_at_shows_it_as_it_was_then(api):
    id_ = await api.new()
    await finish(api, id_)
    history = (await api.get(f"/submissions/{id_}/history")).json()
    for event in history:
        shown = await api.get(f"/submissions/{id_}", params={"at": event["sequence"]})
        assert shown.json()["status"] == event["event"]
        assert shown.json()["sequence"] == event["sequence"]
    before = await api.get(f"/submissions/{id_}", params={"at": 0})
    assert before.status_code == 404


async def test_wait_answers_at_the_end(api):
    id_ = await api.new()
    waiting = asyncio.create_task(api.get(f"/submissions/{id_}", params={"wait": 60}))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await finish(api, id_)
    shown = await asyncio.wait_for(waiting, 4)  # unheard, it would read after 5
    assert shown.json()["status"] == "finished"
    assert shown.json()["runs"][0]["stdout"] == "42\n"


async def test_wait_answers_the_present_state_when_the_time_is_over(api):
    answer = await api.post(params={"wait": 0.3})
    assert answer.status_code == 201
    assert SubmissionAnswer.model_validate(answer.json()).status == "deps-queued"
    again = await api.get(answer.headers["location"], params={"wait": 0.2})
    assert again.json()["status"] == "deps-queued"


async def test_raw_output_is_the_bytes_that_were_written(api):
    data = bytes(range(256))
    id_ = await api.new()
    await finish(api, id_, stdout=data)
    shown = (await api.get(f"/submissions/{id_}")).json()["runs"][0]
    assert shown["stdout_encoding"] == "base64"
    assert base64.b64decode(shown["stdout"]) == data
    raw = await api.get(f"/submissions/{id_}/runs/0/stdout")
    assert raw.content == data
    assert raw.headers["content-type"] == "application/octet-stream"
    assert (await api.get(f"/submissions/{id_}/dependencies/stderr")).content == b""
    for path in ("runs/1/stdout", "runs/x/stdout", "compile/stdout", "runs/0/stdin", "q/stdout"):
        assert (await api.get(f"/submissions/{id_}/{path}")).status_code == 404


@pytest.mark.parametrize(("size", "in_place"), [(200_000, True), (1_200_000, False)])
async def test_content_up_to_a_mebibyte_stands_in_place_and_above_is_null(api, size, in_place):
    data = b"x" * size
    id_ = await api.new()
    async with api.nats.connect("worker") as worker:
        content = by_digest(data)
        await Blobs(worker).put_all({content.sha256: data})
    await finish(api, id_, stdout=content)
    run = (await api.get(f"/submissions/{id_}")).json()["runs"][0]
    assert run["stdout"] == (data.decode() if in_place else None)
    assert run["stdout_total"] == size
    assert (await api.get(f"/submissions/{id_}/runs/0/stdout")).content == data


async def test_a_large_file_goes_through_the_blob_store_and_comes_back(api):
    content = "é" * 300_000
    body = EXAMPLE | {"files": [*EXAMPLE["files"], {"name": "big/data.txt", "content": content}]}
    id_ = (await api.post(body)).json()["id"]
    submitted = (await api.log.history(id_))[0]
    assert submitted.request.files[3].content.data is None
    shown = (await api.get(f"/submissions/{id_}")).json()["request"]["files"][3]
    assert shown == {
        "name": "big/data.txt", "content": content, "encoding": "utf8", "protected": False
    }  # fmt: skip


async def test_the_same_idempotency_key_is_the_same_submission(api):
    key = {"Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(api.post(headers=key) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    again = await api.post(headers=key)
    assert again.json()["id"] == answers[0].json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.post(EXAMPLE | {"cache": False}, headers=key)
    assert other.status_code == 409
    assert answers[0].json()["id"] not in other.text
    assert await api.log.last_sequence() == 2


async def fail(api, id_):
    """As a worker gives it up."""
    async with api.says("worker") as worker:
        last = (await api.log.state(id_)).sequence
        await worker.append(Failed(submission_id=id_, by="w", reasons=("x",)), after=last)


async def test_a_retry_is_the_same_request_once_more_whatever_keys_others_send(api):
    large = {"name": "data", "content": "é" * 800_000}  # more than its object shows
    id_ = await api.new(files=[*EXAMPLE["files"], large], stop_on_failure=True)
    path = f"/submissions/{id_}/retry"
    assert (await api.client.post(path)).status_code == 409
    await fail(api, id_)
    squatted = await api.post(headers={"Idempotency-Key": f"retry-of-{id_}"})
    assert squatted.status_code == 422
    assert squatted.json()["errors"][0]["field"] == "header/Idempotency-Key"
    answers = await asyncio.gather(*(api.client.post(path) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {201}
    (new,) = {answer.json()["id"] for answer in answers}
    again = await api.client.post(path)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (new, "true")
    first, one = (await api.log.history(new))[:2], (await api.log.history(id_))[:2]
    assert first[0].idempotency_key == f"retry-of-{id_}"
    assert first[0].request == one[0].request
    assert (first[1].files, first[1].environment_id) == (one[1].files, one[1].environment_id)
    assert (await api.client.post("/submissions/01nothere/retry")).status_code == 404


async def test_cancel_is_recorded_once_and_refused_after_the_end(api):
    id_ = await api.new()
    for _ in range(2):
        answer = await api.client.post(f"/submissions/{id_}/cancel")
        assert answer.status_code == 202
        assert AcceptedAnswer.model_validate(answer.json()).status == "cancel-requested"
    history = await api.log.history(id_)
    assert [event.event for event in history][2:] == ["cancel-requested"]
    async with api.says("worker") as worker:
        await worker.append(Cancelled(submission_id=id_, by="w"), after=history[-1].sequence)
    assert (await api.client.post(f"/submissions/{id_}/cancel")).status_code == 409


async def test_cancels_that_race_with_a_worker_lose_nothing(api):
    id_ = await api.new()
    async with api.says("builder") as builder:
        last = await tell(builder, [built(id_)], (await api.log.state(id_)).sequence)
    async with api.says("worker") as worker:
        racing = asyncio.create_task(tell(worker, worker_events(id_), last))
        answer = await api.client.post(f"/submissions/{id_}/cancel")
        await asyncio.gather(racing, return_exceptions=True)
    assert answer.status_code in {202, 409}
    names = [event.event for event in await api.log.history(id_)]
    assert ("cancel-requested" in names) == (answer.status_code == 202)


@pytest.mark.parametrize(
    "path",
    ["", "/events", "/history", "/runs/0/stdout", "/compile/stderr", "?wait=1", "?at=1"],
)
@pytest.mark.parametrize("id_", ["01nothere", "*", "a.b", ">", "A B", "%00", "é", "x" * 300])
async def test_any_unknown_id_is_404(api, id_, path):
    answer = await api.get(f"/submissions/{id_}{path}")
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_history_is_every_event_as_recorded(api):
    id_ = await api.new()
    await finish(api, id_)
    history = (await api.get(f"/submissions/{id_}/history")).json()
    assert [event["event"] for event in history][-1] == "finished"
    for event in history:
        assert event["submission_id"] == id_
        assert {"sequence", "at", "by", "attempt"} <= event.keys()
    assert history[2]["how"] == "built"


async def test_an_unknown_event_is_shown(api):
    id_ = await api.new()
    async with api.nats.connect("admin") as admin:
        await admin.jetstream().publish(
            f"submissions.{id_}.zapped",
            f'{{"event":"zapped","submission_id":"{id_}","at":"2030-01-01T00:00:00Z",'
            '"by":"x","q":1}'.encode(),
        )
        await admin.jetstream().publish(f"submissions.{id_}.broken", b"no event at all")
    shown = (await api.get(f"/submissions/{id_}")).json()
    assert shown["status"] == "deps-queued"
    assert shown["timeline"][-1]["event"] == "zapped"
    assert shown["unknown"][0]["q"] == 1


async def test_the_list_without_a_projector_is_empty_and_no_fault(api):
    await api.new()
    answer = await api.get("/submissions")
    assert PageAnswer.model_validate(answer.json()).submissions == []


async def test_limits_of_the_settings_hold(nats):
    limits = {"run": {"wall_seconds": {"maximum": 5}}}
    async with running(nats, limits=limits, max_files=3, max_test_cases=1) as api:
        id_ = await api.new()
        assert (await api.log.state(id_)).request.limits.run.wall_seconds == 2
        id_ = await api.new(limits={})
        assert (await api.log.state(id_)).request.limits.run.wall_seconds == 5
        answer = await api.post(EXAMPLE | {"limits": {"run": {"wall_seconds": 6}}})
        assert "6 is above the maximum 5" in answer.json()["errors"][0]["message"]
        files = [*EXAMPLE["files"], {"name": "x", "content": ""}]
        answer = await api.post(EXAMPLE | {"files": files, "test_cases": [{}, {}]})
        assert [one["field"] for one in answer.json()["errors"]] == ["/files", "/test_cases"]


async def test_a_burst_larger_than_the_servers_open_batches_is_taken_whole(api):
    answers = await asyncio.gather(*(api.post() for _ in range(150)))
    assert {answer.status_code for answer in answers} == {201}
    assert await api.log.last_sequence() == 300


async def test_a_write_whose_answer_was_lost_is_found_and_not_made_twice(api, monkeypatch):
    append = api.log.append_all
    lost = []

    async def forgetful(batch):
        sequence = await append(batch)
        lost.append(sequence)
        raise LogUnavailable("append", "the answer was lost")

    monkeypatch.setattr(api.log, "append_all", forgetful)
    answer = await api.post()
    assert answer.status_code == 201
    assert lost == [2]
    assert await api.log.last_sequence() == 2
    assert (await api.get(answer.headers["location"])).json()["status"] == "deps-queued"


async def test_a_write_that_was_lost_itself_is_tried_again(api, monkeypatch):
    append = api.log.append_all
    tries = []

    async def deaf(batch):
        tries.append(batch)
        if len(tries) == 1:
            raise LogUnavailable("append", "nobody heard")
        return await append(batch)

    monkeypatch.setattr(api.log, "append_all", deaf)
    assert (await api.post()).status_code == 201
    assert await api.log.last_sequence() == 2
