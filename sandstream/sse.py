"""Server-Sent Events, as the HTML standard says them: lines in, events out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a submission: its name, its sequence in the log, its fields."""

    name: str
    sequence: int
    fields: dict[str, Any]


@dataclass(slots=True)
class _Pending:
    name: str = "message"
    data: list[str] = field(default_factory=list)
    id: str = "0"


async def parse(lines: AsyncIterable[str]) -> AsyncIterator[ServerEvent]:
    """Events from lines without their ends; comments (heartbeats) are skipped."""
    pending = _Pending()
    async for line in lines:
        if not line:
            if pending.data:
                fields = json.loads("\n".join(pending.data))
                yield ServerEvent(pending.name, int(pending.id), fields)
            pending = _Pending(id=pending.id)
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match key:
            case "event":
                pending.name = value
            case "data":
                pending.data.append(value)
            case "id":
                pending.id = value
            case _:
                continue
