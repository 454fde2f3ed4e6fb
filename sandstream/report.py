"""Results in words and tables, for a terminal."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sandstream.client import StageResult, Submission

_HEAD_LINES: Final = 6
_KIB: Final = 1024
_GOOD: Final = frozenset({"ok", "accepted"})


def bytes_words(count: float) -> str:
    """A size with a unit that keeps it short."""
    for unit in ("B", "KiB", "MiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit != "MiB" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} GiB"


def seconds_words(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def stages(submission: Submission) -> Iterator[tuple[str, StageResult]]:
    """The stages that have a result, in order, with the names that a person reads."""
    if dependencies := submission.get("dependencies"):
        yield "dependencies", dependencies
    if compiled := submission.get("compile"):
        yield "compile", compiled
    for number, run in enumerate(submission.get("runs") or [], start=1):
        yield f"run {number}", run


def ending(result: StageResult) -> str:
    """How the process itself ended."""
    if signal := result.get("signal"):
        return str(signal)
    code = result.get("exit_code")
    return "" if code is None else f"exit {code}"


def coloured(outcome: str | None) -> Text:
    if outcome is None:
        return Text("")
    return Text(outcome, style="green" if outcome in _GOOD else "yellow")


def written(result: StageResult, channel: str) -> str:
    """What a stage wrote to one channel, as text; bytes that are none are shown escaped."""
    fields: dict[str, Any] = dict(result)
    text = fields.get(channel)
    if text is None:
        return "(large: see the raw call)"
    if fields.get(f"{channel}_encoding") == "base64":
        return base64.b64decode(text).decode(errors="backslashreplace")
    return str(text)


def head(result: StageResult) -> Text:
    """The first lines of what the stage wrote; empty when it wrote nothing."""
    shown = Text()
    for channel, style in (("stdout", ""), ("stderr", "dim")):
        text = written(result, channel).rstrip()
        if not text:
            continue
        lines = text.splitlines()
        for line in lines[:_HEAD_LINES]:
            shown.append(f"{channel} │ ", style="blue")
            shown.append(f"{line.expandtabs()}\n", style=style)
        if len(lines) > _HEAD_LINES:
            shown.append(f"{channel} │ ", style="blue")
            shown.append(f"... {len(lines) - _HEAD_LINES} more lines\n", style="dim italic")
    shown.rstrip()
    return shown


def figures(result: StageResult) -> tuple[str, str, str]:
    """What the stage used, each figure as wide as the others of its column."""
    return (
        f"wall {seconds_words(result['wall_seconds']):>7}",
        f"cpu {seconds_words(result['cpu_seconds']):>7}",
        f"mem {bytes_words(result['memory_peak_bytes']):>9}",
    )


def stage_table(submission: Submission) -> RenderableType:
    """One block for each stage: its figures in a row, below them what it wrote."""
    blocks: list[RenderableType] = []
    hit = submission.get("environment", {}).get("how") == "hit"
    for name, result in stages(submission):
        row = Table.grid(padding=(0, 1))
        for width in (12, 15, 7):
            row.add_column(min_width=width, no_wrap=True)
        row.add_row(
            Text(name, style="bold"),
            coloured(result.get("verdict") or result["outcome"]),
            *(
                ("already built: nothing was run",)
                if hit and name == "dependencies"
                else (ending(result), *figures(result))
            ),
        )
        blocks.append(Padding(row, (0, 0, 0, 2), expand=False))
        if message := result.get("message"):
            blocks.append(Padding(Text(message, style="yellow"), (0, 0, 0, 4), expand=False))
        if text := head(result):
            text.no_wrap = True
            text.overflow = "ellipsis"
            blocks.append(Padding(text, (0, 0, 0, 4), expand=False))
    return Group(*blocks)
