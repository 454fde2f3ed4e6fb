"""A submission run once more as it was asked for, and what came out otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from sandstream.client import Client, StageResult, Submission
from sandstream.report import stages

#: What a program decides; times and memory differ from run to run.
_COMPARED: Final = ("outcome", "exit_code", "signal", "stdout", "stderr", "verdict")


class NotReplayableError(Exception):
    """The request is not here in full: something of it is too large for the object."""


def body(found: Submission, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a submission as the body of a new one: nulls stand for what was absent.

    `recorded`: as its first event has it, which tells what is absent from what is too large to be
    shown. Raises NotReplayableError.
    """
    request = found["request"]
    for what, shown, was in _contents(request, recorded):
        if shown is None and was is not None:
            raise NotReplayableError(f"{what} is too large to be sent again from here")
    cases = [
        {name: value for name, value in case.items() if case.get(_subject(name)) is not None}
        for case in request["test_cases"]
    ]
    return {**request, "test_cases": cases}


def _contents(request: Any, recorded: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What each is, as the object shows it, and as it was recorded."""
    for file, was in zip(request["files"], recorded["files"], strict=True):
        yield file["name"], file["content"], was["content"]
    for n, (case, was) in enumerate(
        zip(request["test_cases"], recorded["test_cases"], strict=True)
    ):
        for name in ("stdin", "expected_stdout"):
            yield f"{name} of test case {n}", case[name], was[name]


def _subject(name: str) -> str:
    """The field that a field speaks of: `stdin_encoding` means nothing without `stdin`."""
    return name.removesuffix("_encoding")


def differences(old: Submission, new: Submission) -> Iterator[str]:
    """Every stage that did something else, in words."""
    before, after = dict(stages(old)), dict(stages(new))
    for name in (*before, *(name for name in after if name not in before)):
        if name == "dependencies":
            # A build that was needed says more than a hit does: only how it ended counts.
            fields: tuple[str, ...] = ("outcome",)
        else:
            fields = _COMPARED
        one: StageResult = before.get(name, {})
        other: StageResult = after.get(name, {})
        for field in fields:
            was, now = dict(one).get(field), dict(other).get(field)
            if was != now:
                yield f"{name}: {field} was {was!r}, is {now!r}"


async def asked(client: Client, found: Submission) -> dict[str, Any]:
    """`body`, with the first event read for it. Raises NotReplayableError."""
    async with aclosing(client.events(found["id"])) as events:
        async for event in events:
            return body(found, event.fields["request"])
    raise NotReplayableError(f"{found['id']} has no first event")


async def run(client: Client, id_: str) -> tuple[Submission, Submission]:
    """The old one and the new one, both at their end."""
    old = await client.get(id_)
    new = await client.run(await asked(client, old))
    return old, new
