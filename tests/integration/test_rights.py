"""Who may say and hear what, as the real server answers it: each refusal names its subject."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

import orjson
import pytest
from nats.js.errors import NotFoundError

from streams import events
from streams.chunks import STREAM as BLOBS
from streams.connection import inbox_prefix
from streams.errors import Undecodable
from streams.log import EventLog
from streams.replay import read_all

pytestmark = pytest.mark.integration

SERVICES = ("api", "builder", "worker", "projector", "auditor")
#: Written here by hand: what `streams/rights.py` makes of its table must come to this.
SAID_BY = {
    "submissions.a.submitted": "api",
    "submissions.a.submitted.uncached": "api",
    "submissions.a.deps-queued": "api",
    "submissions.a.cancel-requested": "api",
    "submissions.a.deps-built": "builder",
    "submissions.a.deps-built.in-container": "worker",
    "submissions.a.started": "worker",
    "submissions.a.compiled": "worker",
    "submissions.a.ran.0": "worker",
    "submissions.a.finished": "worker",
    "submissions.a.failed": "worker",
    "submissions.a.cancelled": "worker",
    "submissions.a.invented": None,
    "submissions.a.b.finished": None,
    "environments.a.deps-queued": "api",
    "environments.a.deps-built": "builder",
    "environments.a.cancel-requested": "api",
    "environments.a.finished": None,
}
#: What would end or rewrite the log, or read it as somebody else.
NOBODYS = (
    *(
        f"$JS.API.{call}.{stream}"
        for stream in (events.STREAM, BLOBS)
        for call in (
            "CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "STREAM.CREATE", "STREAM.UPDATE",
            "STREAM.MSG.DELETE", "STREAM.PURGE", "STREAM.SNAPSHOT", "STREAM.RESTORE",
            "STREAM.LEADER.STEPDOWN", "STREAM.DELETE",
        )
    ),
    f"$JS.API.CONSUMER.DELETE.{events.STREAM}.builders",
    f"$JS.API.CONSUMER.PAUSE.{events.STREAM}.workers",
    "$SYS.REQ.SERVER.PING",
    "live.submissions.a.finished",
)  # fmt: skip


async def answers(nats, lines: Iterable[str], **given: str) -> list[str]:
    """What the server says to these lines of its protocol, up to the answer to a PING after them.

    Without a client in between: its PING may overtake what it was to send before.
    """
    address = urlsplit(nats.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    connect = {"verbose": False, "headers": True, **given}
    told = []
    try:
        for line in (f"CONNECT {json.dumps(connect)}", *lines, "PING"):
            writer.write(f"{line}\r\n".encode())
        async with asyncio.timeout(20):
            while (line := (await reader.readline()).decode().strip()) not in {"", "PONG"}:
                told.append(line)
    finally:
        writer.close()
        await writer.wait_closed()
    information, *rest = told
    assert information.startswith("INFO ")
    return rest if line else [*rest, "cut off"]


def known(nats, user: str) -> dict[str, str]:
    return {"user": user, "pass": nats.secrets[user]}


async def refusals(nats, user: str, subjects: Iterable[str], verb: str = "PUB") -> set[str]:
    """The subjects of these at which the server refuses the user what it asks."""
    what = {"PUB": "Publish", "SUB": "Subscription"}[verb]
    lines = {
        "PUB": [f"PUB {subject} 2\r\n{{}}" for subject in subjects],
        "SUB": [f"SUB {subject} {number}" for number, subject in enumerate(subjects, start=1)],
    }[verb]
    told = await answers(nats, lines, **known(nats, user))
    refused = [line for line in told if line.startswith("-ERR")]
    found = {
        subject for subject in subjects
        if f"-ERR 'Permissions Violation for {what} to \"{subject}\"'" in refused
    }  # fmt: skip
    assert len(refused) == len(found), told
    assert "cut off" not in told, told
    return found


async def test_each_service_says_its_own_events_and_no_others(nats):
    for user in SERVICES:
        mine = {subject for subject, by in SAID_BY.items() if by == user}
        assert await refusals(nats, user, SAID_BY) == SAID_BY.keys() - mine, user


async def test_no_service_can_end_or_rewrite_the_log_and_an_admin_can(nats):
    for user in SERVICES:
        assert await refusals(nats, user, NOBODYS) == set(NOBODYS), user
    async with nats.connect("admin") as admin:
        assert (await admin.jetstream().stream_info(events.STREAM)).state.messages == 0
        # the control: the same words, from who has the right, do what they say
        assert await refusals(nats, "admin", NOBODYS) == set()
        with pytest.raises(NotFoundError):
            await admin.jetstream().stream_info(events.STREAM)


async def test_nobody_hears_what_the_server_answers_to_another(nats):
    for user in SERVICES:
        others = (
            *(f"{inbox_prefix(other)}.>" for other in SERVICES if other != user),
            ">", "$JS.>", "$SYS.>", "submissions.>", "_INBOX.>",
        )  # fmt: skip
        own = f"{inbox_prefix(user)}.>"
        assert await refusals(nats, user, [*others, own], "SUB") == set(others), user


async def test_who_has_no_password_or_anothers_is_not_let_in(nats):
    for given in (
        {},
        {"user": "worker"},
        {"user": "worker", "pass": nats.secrets["api"]},
        {"user": "admin", "pass": ""},
    ):
        assert await answers(nats, (), **given) == ["-ERR 'Authorization Violation'", "cut off"]
    assert await answers(nats, (), **known(nats, "worker")) == []


async def test_a_service_can_not_say_anothers_event_below_a_subject_of_its_own(nats):
    """The server looks at subjects alone: what a payload claims to be, the reader has to judge."""
    true, forged = _event("submitted-long-ago"), _event("finished", verdict="accepted")
    said = {
        "api": f"submissions.{_VICTIM}.cancel-requested",
        "builder": f"submissions.{_VICTIM}.deps-built",
    }
    for user, subject in said.items():
        assert await answers(nats, [_pub(subject, forged)], **known(nats, user)) == []
    async with nats.connect("admin") as admin:
        log = EventLog(admin)
        await _until(admin, len(said))
        told = [one async for one in read_all(log)]
        assert [type(one) for one in told] == [Undecodable] * len(said), told
        # the control: at its own subject the very same bytes are that event, and its end
        await admin.publish(
            f"submissions.other.{true['event']}", orjson.dumps(true | {"submission_id": "other"})
        )
        await admin.publish(
            "submissions.other.finished", orjson.dumps(forged | {"submission_id": "other"})
        )
        await _until(admin, len(said) + 2)
        assert (await log.state("other")).verdict == "accepted"


async def test_an_answer_that_the_server_was_made_to_send_into_the_log_is_no_event(nats):
    """Whoever reads may name any subject for the answer, and no right is asked for there."""
    forged = _event("finished", verdict="accepted")
    query = {"seq": 1}
    async with nats.connect("admin") as admin:
        await admin.publish("submissions.theirs.submitted", orjson.dumps(forged))
        for number, user in enumerate(SERVICES):
            into = f"submissions.{_VICTIM}.finished"
            line = f"PUB $JS.API.DIRECT.GET.{events.STREAM} {into} {len(orjson.dumps(query))}\r\n"
            line += orjson.dumps(query).decode()
            assert await answers(nats, [line], **known(nats, user)) == []
            await _until(admin, number + 2)  # it is in the log, by the server's own hand
        heard = [one async for one in read_all(EventLog(admin))]
        assert [type(one) for one in heard] == [Undecodable] * (len(SERVICES) + 1), heard
        raw = await admin.jetstream().get_msg(events.STREAM, 2)
        assert (raw.subject, raw.data) == (f"submissions.{_VICTIM}.finished", orjson.dumps(forged))


_VICTIM = "victim"


def _event(name: str, **fields: str) -> dict[str, str]:
    at = "2030-01-01T00:00:00Z"
    return {"event": name, "submission_id": _VICTIM, "at": at, "by": "x"} | fields


def _pub(subject: str, event: dict[str, str]) -> str:
    data = orjson.dumps(event).decode()
    return f"PUB {subject} {len(data)}\r\n{data}"


async def _until(admin, messages: int) -> None:
    async with asyncio.timeout(20):
        while (await admin.jetstream().stream_info(events.STREAM)).state.messages < messages:
            await asyncio.sleep(0.05)
