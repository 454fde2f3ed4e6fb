"""The client: errors in words, and an event stream that goes on where it broke."""

from __future__ import annotations

import json

import httpx
import pytest

from sandstream import client as module
from sandstream.client import ApiError, Client, UnreachableError
from sandstream.key import KeyFileError, key_for, key_in
from sandstream.settings import StackSettings


def speaking(handler) -> Client:
    client = Client("http://test")
    client._http = httpx.AsyncClient(base_url="http://test", transport=httpx.MockTransport(handler))
    return client


async def test_every_bad_field_is_named_on_a_line():
    problem = {
        "title": "Invalid request",
        "detail": "2 fields are wrong",
        "errors": [
            {"field": "/files", "message": "shell.nix is missing"},
            {"field": "/cache", "message": "must be true or false"},
        ],
    }
    async with speaking(lambda _: httpx.Response(422, json=problem)) as client:
        with pytest.raises(ApiError) as raised:
            await client.submit({})
    assert str(raised.value).splitlines() == [
        "422 Invalid request: 2 fields are wrong",
        "  /files: shell.nix is missing",
        "  /cache: must be true or false",
    ]


async def test_an_answer_that_is_no_problem_document_is_told_as_it_is():
    async with speaking(lambda _: httpx.Response(502, text="bad gateway")) as client:
        with pytest.raises(ApiError, match="502 Bad Gateway: bad gateway"):
            await client.get("a")


async def test_nobody_at_the_address_is_an_error_of_its_own():
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(UnreachableError, match="does not answer"):
            await client.get("a")


@pytest.mark.parametrize("trouble", [503, None], ids=["unavailable", "gone"])
async def test_who_waits_for_an_end_bears_a_server_that_starts_anew(monkeypatch, trouble):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) <= 4:
            if trouble is None:
                raise httpx.ConnectError("refused")
            return httpx.Response(trouble, json={"title": "The log is away"})
        return httpx.Response(200, json={"id": "a", "status": "finished"})

    async with speaking(handler) as client:
        assert (await client.end_of("a"))["status"] == "finished"
    assert len(calls) == 5


async def test_who_waits_for_an_end_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        return httpx.Response(503, json={"title": "The log is away"})

    async with speaking(handler) as client:
        with pytest.raises(ApiError, match="503"):
            await client.end_of("a")
    assert len(calls) == module._RETRIES + 1
    async with speaking(lambda _: httpx.Response(404, json={"title": "No"})) as client:
        with pytest.raises(ApiError, match="404"):
            await client.end_of("a")


@pytest.mark.parametrize(("changes", "asked"), [(False, 2), (True, 1)])
async def test_a_connection_that_was_just_closed_is_asked_again_where_nothing_changes(
    changes, asked
):
    """A POST might be there already: only who sent it knows whether it bears a key."""
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) == 1:
            raise httpx.RemoteProtocolError("Server disconnected", request=request)
        return httpx.Response(200, json={"id": "a", "status": "finished"})

    async with speaking(handler) as client:
        if changes:
            with pytest.raises(UnreachableError):
                await client.submit({})
        else:
            assert (await client.get("a"))["status"] == "finished"
    assert len(calls) == asked


async def test_a_broken_event_stream_is_taken_up_after_the_last_event(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0)
    asked = []

    def line(sequence: int, name: str) -> str:
        return f"id: {sequence}\nevent: {name}\ndata: {json.dumps({'event': name})}\n\n"

    def handler(request: httpx.Request) -> httpx.Response:
        last = request.headers.get("last-event-id")
        asked.append(last)
        if len(asked) == 2:
            raise httpx.ConnectError("gone")
        text = line(1, "submitted") if last is None else line(2, "finished")
        return httpx.Response(200, text=text)

    async with speaking(handler) as client:
        names = [event.name async for event in client.events("a")]
    assert names == ["submitted", "finished"]
    assert asked == [None, "1", "1"]


async def test_who_has_seen_the_last_event_is_told_nothing_and_asks_once():
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        return httpx.Response(204)

    async with speaking(handler) as client:
        assert [event async for event in client.events("a", after=7)] == []
    assert asked == ["7"]


@pytest.mark.parametrize(("status", "asked"), [(503, 2), (404, 1)])
async def test_an_event_stream_bears_a_server_that_can_not_tell_just_now(
    monkeypatch, status, asked
):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0)
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) == 1:
            return httpx.Response(status, json={"title": "Not now"})
        return httpx.Response(200, text='id: 2\nevent: finished\ndata: {"event": "finished"}\n\n')

    async with speaking(handler) as client:
        if asked == 1:
            with pytest.raises(ApiError, match="404"):
                [event async for event in client.events("a")]
        else:
            assert [event.name async for event in client.events("a")] == ["finished"]
    assert len(calls) == asked


async def test_a_stream_that_brings_nothing_is_not_asked_for_again_at_once(monkeypatch):
    pauses, calls = [], []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        return httpx.Response(200, text="") if len(calls) < 4 else httpx.Response(204)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    async with speaking(handler) as client:
        assert [event async for event in client.events("a")] == []
    assert pauses == [module._RETRY_SECONDS] * 3


def key_file(folder, text):
    file = folder / "keys"
    file.write_text(text)
    return file


def test_the_key_is_that_of_the_first_line_of_a_file(tmp_path):
    for text in ("abc", "\n# grader x\n\n  grader   abc \nother def\n"):
        assert key_in(key_file(tmp_path, text)) == "abc"
    for text in ("", "# a b\n", "ä"):
        with pytest.raises(KeyFileError):
            key_in(key_file(tmp_path, text))
    with pytest.raises(KeyFileError, match="No such file"):
        key_in(tmp_path / "none")


def test_the_servers_own_key_goes_to_no_other_server(tmp_path):
    file = key_file(tmp_path, "grader abc\n")
    ours = StackSettings(keys_file=file)
    assert key_for(ours, ours=True) == "abc"
    assert key_for(ours, ours=False) is None
    assert key_for(StackSettings(key_file=file), ours=False) == "abc"
    assert key_for(StackSettings(), ours=True) is None
