"""Submissions on a terminal while they happen: one block for each, its events as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from sandstream.client import TERMINAL
from sandstream.sse import ServerEvent


def label(event: ServerEvent, cases: int) -> str:
    """An event in a few letters: its name and what tells it from its like."""
    match event.name:
        case "deps-built":
            return f"deps-built ({event.fields.get('how')})"
        case "ran":
            case = event.fields["result"]["case"]
            return f"ran {case + 1}/{cases}"
        case _:
            return event.name


@dataclass
class Row:
    """One submission: what was seen of it, and when, in seconds after it was sent."""

    title: str
    cases: int
    began: float | None = None
    seen: list[tuple[ServerEvent, float]] = field(default_factory=list)
    verdict: str | None = None

    @property
    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1][0].name in TERMINAL

    @property
    def elapsed(self) -> float:
        """To the last event, or to now."""
        if self.ended:
            return self.seen[-1][1]
        return 0.0 if self.began is None else time.monotonic() - self.began

    def start(self) -> None:
        self.began = time.monotonic()

    def see(self, event: ServerEvent) -> float:
        """Note an event; returns seconds since the start."""
        after = self.elapsed
        self.seen.append((event, after))
        if event.name in TERMINAL:
            self.verdict = event.fields.get("verdict", event.name)
        return after

    def chain(self, width: int) -> Text:
        """Every event with the milliseconds at which it was here; none is broken at a line's end.

        By hand, because rich breaks a line at a no-break space too.
        """
        text = Text()
        used = 0
        for number, (event, after) in enumerate(self.seen):
            name, time_ = label(event, self.cases), f" {after * 1000:.0f}"
            if number:
                text.append(" ▸", style="dim")
                needed = len(f" {name}{time_} ms ▸")
                text.append(" " if used + needed <= width else "\n")
                used = used + 3 if used + needed <= width else 0
            text.append(name, style="cyan")
            text.append(time_, style="dim")
            used += len(name) + len(time_)
        if self.seen:
            text.append(" ms", style="dim")
        return text

    def block(self, width: int) -> RenderableType:
        """The row as it stands, on a terminal of that many columns."""
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(width=2)
        line.add_column(ratio=1)
        line.add_column(justify="right")
        line.add_column(justify="right", min_width=9)
        if self.began is None:
            line.add_row("·", Text(self.title, style="dim"), "", "")
            return line
        mark = Text("✔", style="green") if self.ended else Spinner("dots", style="cyan")
        verdict = Text(self.verdict or "", style="green" if self.verdict == "accepted" else "")
        clock = f"{self.elapsed * 1000:,.0f} ms"
        line.add_row(mark, Text(self.title, style="bold"), verdict, clock)
        return Group(line, Padding(self.chain(width - 3), (0, 0, 0, 3)))


class Watch:
    """All rows, redrawn on a terminal; plain lines, one for each event, where there is none."""

    def __init__(self, console: Console, rows: list[Row]) -> None:
        self._console = console
        self.rows = rows

    def __rich__(self) -> RenderableType:
        return Group(*(row.block(self._console.width) for row in self.rows))

    @contextmanager
    def shown(self) -> Iterator[None]:
        if self._console.is_terminal:
            with Live(self, console=self._console, refresh_per_second=12):
                yield
        else:
            yield

    def start(self, row: Row) -> None:
        row.start()
        if not self._console.is_terminal:
            self._console.print(row.title, style="bold")

    def see(self, row: Row, event: ServerEvent) -> None:
        after = row.see(event)
        if not self._console.is_terminal:
            self._console.print(f"  {after * 1000:7.0f} ms  {label(event, row.cases)}")
