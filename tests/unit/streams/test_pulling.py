"""Who pulls for ever must hear that it is to stop, whatever comes at that very moment."""

from __future__ import annotations

import asyncio

import pytest

from streams.queues import pulled


class Message:
    given_back = False

    async def nak(self) -> None:
        self.given_back = True


class Subscription:
    """Waits as nats-py does."""

    def __init__(self) -> None:
        self.answer: asyncio.Future | None = None

    async def fetch(self, batch: int, timeout: float) -> list[Message]:  # noqa: ASYNC109 - theirs
        self.answer = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(self.answer, timeout)


async def pulling(subscription: Subscription, seconds: float = 5.0) -> asyncio.Task:
    task = asyncio.create_task(pulled(subscription, 1, seconds))
    while subscription.answer is None:
        await asyncio.sleep(0)
    return task


async def test_what_comes_is_returned():
    task = await pulling(subscription := Subscription())
    subscription.answer.set_result(came := [Message()])
    assert await task == came
    assert not came[0].given_back


async def test_nothing_in_time_is_a_timeout():
    task = await pulling(Subscription(), 0.01)
    with pytest.raises(TimeoutError):
        await task


async def test_told_to_stop_while_nothing_comes_it_stops():
    task = await pulling(subscription := Subscription())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert subscription.answer.cancelled()


async def test_told_to_stop_just_as_a_message_comes_it_stops_and_gives_that_back():
    task = await pulling(subscription := Subscription())
    subscription.answer.set_result(came := [Message()])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert came[0].given_back


async def test_told_to_stop_just_as_the_wait_fails_it_stops():
    task = await pulling(subscription := Subscription())
    subscription.answer.set_exception(TimeoutError())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
