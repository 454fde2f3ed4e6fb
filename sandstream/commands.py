"""What the command line does with a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandstream import replay as again
from sandstream.client import TERMINAL, Client, Submission
from sandstream.folder import load
from sandstream.report import coloured, stage_table
from sandstream.watch import Row, Watch


async def submit(
    client: Client, folder: Path, *, cache: bool, wait: bool, as_json: bool, console: Console
) -> int:
    """Send a folder; show its events and results, or just its id."""
    body = load(folder)
    if not cache:
        body["cache"] = False
    id_ = await client.submit(body)
    if not wait:
        console.print(id_)
        return 0
    if as_json:
        return show(await client.end_of(id_), as_json=True, console=console)
    row = Row(f"{folder.name}  {id_}", len(body.get("test_cases") or [None]))
    watch = Watch(console, [row])
    watch.start(row)
    with watch.shown():
        async for event in client.events(id_):
            watch.see(row, event)
    return show(await client.get(id_), as_json=False, console=console)


def show(found: Submission, *, as_json: bool, console: Console) -> int:
    """Everything about a submission; 0 unless we failed it."""
    if as_json:
        console.print_json(json.dumps(found))
    else:
        verdict = found.get("verdict")
        words = Text.assemble(found["id"], "  ", (found["status"], "bold"), "  ")
        console.print(words + coloured(verdict))
        console.print(stage_table(found))
        for reason in found.get("failures") or []:
            console.print(Text(f"  attempt failed: {reason}", style="red"))
    return 1 if found["status"] == "failed" else 0


async def status(client: Client, id_: str, *, as_json: bool, console: Console) -> int:
    return show(await client.get(id_), as_json=as_json, console=console)


async def listing(client: Client, *, limit: int, console: Console) -> int:
    """The newest submissions."""
    page = await client.page(limit=limit)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("id", "status", "verdict", "submitted"):
        table.add_column(heading, no_wrap=True)
    for item in page["submissions"]:
        at = str(item["submitted_at"])[:19].replace("T", " ")
        table.add_row(item["id"], item["status"], coloured(item["verdict"]), at)
    console.print(table)
    return 0


async def events(client: Client, id_: str, *, after: int, console: Console) -> int:
    """Each event on a line of its own, as JSON, until the last one."""
    async for event in client.events(id_, after=after):
        console.out(json.dumps(event.fields), highlight=False)
    return 0


async def cancel(client: Client, id_: str, *, console: Console) -> int:
    """Ask for its end and wait for it."""
    await client.cancel(id_)
    found: Submission = await client.get(id_, wait=20)
    console.print(f"{id_}: {found['status']}")
    return 0 if found["status"] in TERMINAL else 1


async def replay(client: Client, id_: str, *, console: Console) -> int:
    """Run it once more; 0 when it did the same."""
    old, new = await again.run(client, id_)
    console.print(Text(f"{id_} ran again as {new['id']}", style="bold"))
    found: list[str] = list(again.differences(old, new))
    for words in found:
        console.print(Text(f"  {words}", style="yellow"))
    if not found:
        console.print(Text("  the same in every stage", style="green"))
    here: dict[str, Any] = dict(old)
    there: dict[str, Any] = dict(new)
    one, other = here.get("environment") or {}, there.get("environment") or {}
    if one.get("id") != other.get("id"):
        console.print(Text(f"  the environment is another: {one.get('id')}, {other.get('id')}"))
    return 1 if found else 0
