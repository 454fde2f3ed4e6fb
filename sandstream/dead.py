"""Submissions that we gave up, through our own fault: which, why, and each of them once more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console
from rich.text import Text

from sandstream.client import Client, Submission

_PAGE: Final = 100


async def dead(client: Client, *, limit: int) -> AsyncIterator[Submission]:
    """The submissions that have failed, newest first."""
    cursor: dict[str, int] = {}
    while limit > 0:
        page = await client.page(status="failed", limit=min(limit, _PAGE), **cursor)
        for item in page["submissions"]:
            yield await client.get(item["id"])
        limit -= len(page["submissions"])
        if not page["next"]:
            return
        cursor = {"cursor": page["next"]}


async def show(client: Client, *, limit: int, console: Console) -> int:
    """Each with the reason of each attempt."""
    async for found in dead(client, limit=limit):
        at = str(found["timeline"][-1]["at"])[:19].replace("T", " ")
        console.print(Text.assemble((found["id"], "bold"), f"  gave up at {at}"), soft_wrap=True)
        for number, reason in enumerate(found["failures"], start=1):
            console.print(Text(f"  attempt {number}: {reason}", style="red"), soft_wrap=True)
    return 0
