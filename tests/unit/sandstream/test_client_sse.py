"""Server-Sent Events as the standard says them."""

from __future__ import annotations

from sandstream.sse import parse


async def events(text: str):
    async def lines():
        for line in text.split("\n"):
            yield line

    return [event async for event in parse(lines())]


async def test_an_event_has_its_name_sequence_and_fields():
    (event,) = await events('id: 7\nevent: ran\ndata: {"a": 1}\n\n')
    assert (event.name, event.sequence, event.fields) == ("ran", 7, {"a": 1})


async def test_comments_and_retry_are_no_events():
    assert await events("retry: 1000\n\n: keep-alive\n\n") == []


async def test_data_over_several_lines_is_one_text():
    (event,) = await events('id: 1\nevent: x\ndata: {"a":\ndata: 2}\n\n')
    assert event.fields == {"a": 2}


async def test_an_event_that_is_cut_off_is_not_told():
    assert await events('id: 1\nevent: x\ndata: {"a": 2}') == []
