"""`sandstream demo`: one submission of each kind, live, then every result, then a check of all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sandstream.client import Client, Submission
from sandstream.report import coloured, seconds_words, stage_table
from sandstream.scenes import SCENES, Scene, differences
from sandstream.watch import Row, Watch


@dataclass(frozen=True)
class Played:
    """A scene that is over."""

    scene: Scene
    row: Row
    found: Submission
    wrong: list[str]

    @property
    def how(self) -> str | None:
        return how(self.row)

    @property
    def environment_seconds(self) -> float:
        """From the order of the environment to its being there, as the events themselves say."""
        at = {event.name: datetime.fromisoformat(event.fields["at"]) for event, _ in self.row.seen}
        return max((at["deps-built"] - at["deps-queued"]).total_seconds(), 1e-3)


def how(row: Row) -> str | None:
    """How the environment came to be, as `deps-built` tells."""
    for event, _ in row.seen:
        if event.name == "deps-built":
            return str(event.fields.get("how"))
    return None


async def play(client: Client, console: Console) -> list[Played]:
    """Run every scene, one after the other, before the person's eyes."""
    token = uuid4().hex
    bodies = [scene.body(token) for scene in SCENES]
    rows = [
        Row(f"{number}. {scene.title}", len(body.get("test_cases") or [None]))
        for number, (scene, body) in enumerate(zip(SCENES, bodies, strict=True), start=1)
    ]
    watch = Watch(console, rows)
    played = []
    with watch.shown():
        for scene, body, row in zip(SCENES, bodies, rows, strict=True):
            watch.start(row)
            id_ = await client.submit(body)
            async for event in client.events(id_):
                watch.see(row, event)
            found = await client.get(id_)
            names = tuple(event.name for event, _ in row.seen)
            played.append(Played(scene, row, found, differences(scene, names, how(row), found)))
    return played


async def demo(url: str, key: str | None, console: Console) -> int:
    """0 when every submission went as it must."""
    began = time.monotonic()
    async with Client(url, key=key) as client:
        played = await play(client, console)
    for one in played:
        console.print()
        console.print(Rule(Text(one.row.title, style="bold"), align="left", style="dim"))
        console.print(stage_table(one.found))
    console.print()
    console.print(Rule(Text("Summary", style="bold"), align="left", style="dim"))
    console.print(summary(played))
    console.print(speed_up(played))
    wrong = [(one.row.title, words) for one in played for words in one.wrong]
    for title, words in wrong:
        console.print(Text.assemble(("NOT AS EXPECTED  ", "bold red"), f"{title}: {words}"))
    if not wrong:
        took = seconds_words(time.monotonic() - began)
        console.print(Text(f"All {len(played)} ended as they should, in {took}.", style="green"))
    return 1 if wrong else 0


def summary(played: list[Played]) -> Table:
    """One line for each."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("submission")
    table.add_column("environment", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in played:
        table.add_row(
            one.row.title,
            one.how or "",
            coloured(one.found.get("verdict")),
            seconds_words(one.row.elapsed),
            Text("DIFFERS", style="bold red") if one.wrong else Text("✔", style="green"),
        )
    return table


def speed_up(played: list[Played]) -> Text:
    """What the cache is worth: the second use of an environment beside its first build."""
    built = next((one for one in played if one.how == "built" and one.scene.fresh), None)
    hit = next((one for one in played if one.how == "hit" and one.scene.fresh), None)
    if built is None or hit is None:
        return Text("")
    times = built.environment_seconds / hit.environment_seconds
    return Text.assemble(
        "The environment was there after ",
        (seconds_words(hit.environment_seconds), "bold"),
        " the second time, ",
        (seconds_words(built.environment_seconds), "bold"),
        " the first: ",
        (f"{times:.0f} times faster", "bold green"),
        ".",
    )
