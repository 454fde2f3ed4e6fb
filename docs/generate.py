"""Writes the parts of the docs that the code knows: tables of limits and settings, command lines.

`python docs/generate.py` rewrites every block between `<!-- generated: NAME -->` and
`<!-- end -->` in README.md and docs/*.md; a test fails when one of them is out of date.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_settings import BaseSettings  # noqa: E402

from docs import containers, fields, jails, judging  # noqa: E402
from init.limits import GIB, KIB, LIMITS, MIB, TOTALS, Stage  # noqa: E402
from init.outcome import Outcome  # noqa: E402
from streams import events  # noqa: E402

_BLOCK: Final = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: Every settings class, by the process that reads it.
SETTINGS: Final = (
    ("streams.connection", "NatsSettings", "all"),
    ("streams.setup", "LogSettings", "set-up"),
    ("api.settings", "ApiSettings", "api"),
    ("streams.memory", "MemorySettings", "builder, worker"),
    ("builder.settings", "BuilderSettings", "builder"),
    ("egress.settings", "NetworkSettings", "builder, store, worker"),
    ("builder.settings", "SharingSettings", "builder, store"),
    ("worker.settings", "WorkerSettings", "worker"),
    ("sandstream.settings", "StackSettings", "make up"),
)

#: What is read where no settings class can be: before anything is installed, or for a container.
PLAIN: Final = (
    (
        "SANDSTREAM_CHANNEL",
        "set-up",
        "`auto`",
        "`offline`, `nixpkgs`, or `auto`: nixpkgs where its public cache answers (nix/README.md).",
    ),
)


def _amount(value: float, name: str) -> str:
    if not name.endswith("_bytes"):
        return f"{value:g}"
    for unit, word in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= unit:
            return f"{value / unit:g} {word}"
    return f"{value:g}"


def limits() -> str:
    """The table of limits: default and maximum in each stage."""
    lines = [
        "| limit | " + " | ".join(stage.value for stage in Stage) + " | what is counted |",
        "|---|" + "---|" * (len(Stage) + 1),
    ]
    for limit in LIMITS:
        cells = [
            f"{_amount(limit.default(stage), limit.name)}"
            f" (at most {_amount(limit.maximum(stage), limit.name)})"
            for stage in Stage
        ]
        lines.append(f"| `{limit.name}` | " + " | ".join(cells) + f" | {limit.meaning} |")
    return "\n".join(lines)


def totals() -> str:
    """The table of what compile and all runs may use together."""
    lines = ["| limit | default | what is counted |", "|---|---|---|"]
    lines += [
        f"| `total.{total.name}` | {_amount(total.default, total.name)}"
        f" (at most {_amount(total.maximum, total.name)}) | {total.meaning} |"
        for total in TOTALS
    ]
    return "\n".join(lines)


def outcomes() -> str:
    """The outcomes in their order of precedence."""
    return "\n".join(f"{number}. `{outcome.value}`" for number, outcome in enumerate(Outcome, 1))


def vocabulary() -> str:
    """Every event and its sentence."""
    lines = ["| event | meaning |", "|---|---|"]
    for kind in events.Known.__args__:
        name = kind.model_fields["event"].default
        lines.append(f"| `{name}` | {(kind.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(lines)


def setting_rows() -> Iterable[tuple[str, str, str, str]]:
    """(variable, process, default, description) of every setting."""
    for module, name, process in SETTINGS:
        model: type[BaseSettings] = getattr(importlib.import_module(module), name)
        for field, info in model.model_fields.items():
            yield f"SANDSTREAM_{field.upper()}", process, _default(info), info.description or ""
    yield from PLAIN


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "by machine"
    default = info.default
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)  # wherever the checkout is
    return "none" if default in {None, ""} else f"`{default}`"


def settings() -> str:
    lines = ["| variable | read by | default | meaning |", "|---|---|---|---|"]
    merged: dict[str, tuple[dict[str, str], str]] = {}
    for variable, process, default, description in setting_rows():
        merged.setdefault(variable, ({}, description))[0][process] = default
    for variable, (defaults, description) in merged.items():
        same = len(set(defaults.values())) == 1
        each = (d if same else f"{process}: {d}" for process, d in defaults.items())
        words = f"{', '.join(defaults)} | {', '.join(dict.fromkeys(each))}"
        lines.append(f"| `{variable}` | {words} | {description} |")
    return "\n".join(lines)


GENERATORS: Final[dict[str, Callable[[], str]]] = {
    "limits": limits,
    "totals": totals,
    "outcomes": outcomes,
    "vocabulary": vocabulary,
    "settings": settings,
    "container": containers.submission,
    "jail-stage": jails.stage,
    "jail-daemon": jails.daemon,
    "jail-in-container": jails.in_container,
    "request-fields": fields.request,
    "object-fields": fields.answer,
    "page-fields": fields.page,
    "language-fields": fields.languages,
    "verdicts": judging.verdicts,
    "comparisons": judging.comparisons,
}


def render(text: str) -> str:
    """The document with each of its generated blocks made anew."""
    return _BLOCK.sub(lambda m: f"{m[1]}{GENERATORS[m[2]]()}\n{m[3]}", text)


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    for file in documents():
        text = file.read_text()
        if (made := render(text)) != text:
            file.write_text(made)
            print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
