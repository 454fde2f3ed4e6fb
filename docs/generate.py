"""Writes the parts of the docs that the code knows: tables of limits and settings, command lines.

`python docs/generate.py` rewrites every block between `<!-- generated: NAME -->` and
`<!-- end -->` in README.md and docs/*.md; a test fails when one of them is out of date.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_settings import BaseSettings  # noqa: E402

from api import models  # noqa: E402
from api.limits import LimitOverrides  # noqa: E402
from api.schema import body_model  # noqa: E402
from init import nix, shell  # noqa: E402
from init.box import Box  # noqa: E402
from init.frames import Delegated  # noqa: E402
from init.jail import Jail, argv  # noqa: E402
from init.limits import GIB, KIB, LIMITS, MIB, Stage  # noqa: E402
from init.outcome import Outcome  # noqa: E402
from init.scratch import Scratch  # noqa: E402
from streams import events  # noqa: E402
from streams.fold import Submission  # noqa: E402
from streams.results import RunResult, StageResult  # noqa: E402
from worker import verdict  # noqa: E402

_BLOCK: Final = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: Every settings class, by the process that reads it.
SETTINGS: Final = (
    ("streams.connection", "NatsSettings", "all"),
    ("streams.setup", "LogSettings", "set-up"),
    ("api.settings", "ApiSettings", "api"),
    ("builder.settings", "BuilderSettings", "builder"),
    ("egress.settings", "NetworkSettings", "builder, store, worker"),
    ("builder.settings", "SharingSettings", "builder, store"),
    ("worker.settings", "WorkerSettings", "worker"),
    ("sandstream.state", "StackSettings", "make up"),
)

#: What is read where no settings class can be: before anything is installed, or for a container.
PLAIN: Final = (
    (
        "SANDSTREAM_CHANNEL",
        "set-up",
        "`auto`",
        "`offline`, `nixpkgs`, or `auto`: nixpkgs where its public cache answers (nix/README.md).",
    ),
    (
        "SANDSTREAM_CACHE_LISTEN",
        "make up",
        "none",
        "`address:port` at which this host serves its binary cache; none: it does not.",
    ),
    (
        "SANDSTREAM_BUILDER_MEMORY_BYTES",
        "make up",
        "by machine",
        "The wall around all jobs of a builder together (by default 80 % of the host's memory).",
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
    return "none" if info.default in {None, ""} else f"`{info.default}`"


def settings() -> str:
    lines = ["| variable | read by | default | meaning |", "|---|---|---|---|"]
    merged: dict[str, tuple[list[str], str, str]] = {}
    for variable, process, default, description in setting_rows():
        merged.setdefault(variable, ([], default, description))[0].append(process)
    for variable, (processes, default, description) in merged.items():
        lines.append(f"| `{variable}` | {', '.join(processes)} | {default} | {description} |")
    return "\n".join(lines)


def command(jail: Jail) -> str:
    """A jail's command line as a person reads it: one option and its value on a line."""
    lines: list[str] = []
    for word in argv(jail):
        quoted = shlex.quote(word)
        takes_a_value = lines and lines[-1].startswith("--") and " " not in lines[-1]
        if takes_a_value and lines[-1] != "--" and not word.startswith("--"):
            lines[-1] += f" {quoted}"
        else:
            lines.append(quoted)
    return "```sh\n" + " \\\n  ".join(lines) + "\n```"


def stage() -> str:
    """The jail of compile and of each run, with a closure of two paths."""
    closure = ("/nix/store/…-bash", "/nix/store/…-python3")
    box = Box(Delegated(2, {}))
    made = shell.Shell(closure, "/nix/store/…-bash/bin/bash", "/nix/store/…-coreutils/bin/env")
    return command(shell.stage_jail(box, made, Scratch("/box/run-0", 0), uid=1_000_017))


def evaluator() -> str:
    folder = "/run/builder/job"
    return command(
        nix.evaluator_jail(uid=30_001, files=f"{folder}/files", socket=f"{folder}/socket")
    )


def daemon() -> str:
    folder = "/run/builder/job"
    return command(
        nix.daemon_jail(uid=30_000, store="/nix", folder=folder, scratch=f"{folder}/scratch")
    )


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema's type in a few words."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return {"Outcome": "string", "Status": "string"}.get(name, "object")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}s"
    return str(schema.get("type", "any"))


def _fields(schema: dict[str, Any], prefix: str = "") -> list[str]:
    """A row for each field: name, type, default, meaning."""
    rows = []
    for name, field in schema["properties"].items():
        if name in schema.get("required", ()):
            default = "required"
        else:
            default = f"`{json.dumps(field.get('default', []))}`"
        meaning = field.get("description", "")
        rows.append(f"| `{prefix}{name}` | {_kind(field)} | {default} | {meaning} |")
    return rows


def request_fields() -> str:
    """What a POST may hold."""
    schema = body_model(LimitOverrides()).model_json_schema()
    parts = schema["$defs"]
    return "\n".join(
        [
            "| field | type | default | meaning |",
            "|---|---|---|---|",
            *_fields(schema),
            *_fields(parts["FileBody"], "files[]."),
            *_fields(parts["TestCaseBody"], "test_cases[]."),
        ]
    )


def object_fields() -> str:
    """What a GET answers."""
    rows = ["| field | type | meaning |", "|---|---|---|"]
    run = models.RunAnswer.model_json_schema()
    stage = models.StageAnswer.model_json_schema()
    for prefix, schema in (
        ("", models.SubmissionAnswer.model_json_schema()),
        ("runs[].", run | {"properties": {k: v for k, v in run["properties"].items()
                                          if k not in stage["properties"]}}),
        ("*stage*.", stage),
    ):  # fmt: skip
        for row in _fields(schema, prefix):
            name, kind, _, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
            rows.append(f"| {name} | {kind} | {meaning} |")
    return "\n".join(rows)


def verdicts() -> str:
    """What the judge makes of each outcome, by asking it."""
    lines = [
        "| outcome | in `dependencies`, the verdict is | in `compile` | in a run |",
        "|---|---|---|---|",
    ]
    for outcome in Outcome:
        if outcome in {Outcome.SANDBOX_ERROR, Outcome.CANCELLED}:
            continue
        result = StageResult(outcome=outcome)
        told = verdict.of_run(outcome, b"", b"", "exact")
        run = RunResult(case=0, outcome=outcome, verdict=told)
        if outcome is Outcome.OK:
            cells = ["-", "-", "`accepted` or `wrong-answer`; `ok` where nothing is expected"]
        else:
            states = (
                Submission(dependencies=result), Submission(compile=result), Submission(runs=(run,))
            )  # fmt: skip
            cells = [f"`{verdict.of_submission(state)}`" for state in states]
        lines.append(f"| `{outcome.value}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_COMPARES: Final = ("exact", "trailing", "tokens", "float:1e-6")
_PAIRS: Final = (
    ("42\n", "42\n"),
    ("42", "42\n"),
    ("42 \n\n", "42\n"),
    (" 42\n", "42\n"),
    ("1  2\n3\n", "1 2 3\n"),
    ("0.3333333\n", "0.333333333\n"),
    ("1000000.5\n", "1000000\n"),
    ("1e3\n", "1000\n"),
    ("yes\n", "YES\n"),
    ("1.000001\n", "1\n"),
    ("-0\n", "0\n"),
    ("inf\n", "+inf\n"),
    ("1e999\n", "2e999\n"),
    ("0x8\n", "8\n"),
    ("nan\n", "nan\n"),
    ("", "42\n"),
)


def comparisons() -> str:
    """What each comparison accepts, by asking it."""
    lines = ["| stdout | expected | " + " | ".join(f"`{one}`" for one in _COMPARES) + " |"]
    lines.append("|---|---|" + "---|" * len(_COMPARES))
    for stdout, expected in _PAIRS:
        same = [verdict.agrees(stdout.encode(), expected.encode(), one) for one in _COMPARES]
        cells = " | ".join("yes" if one else "no" for one in same)
        lines.append(f"| `{json.dumps(stdout)}` | `{json.dumps(expected)}` | {cells} |")
    return "\n".join(lines)


def in_container() -> str:
    scratch = "/scratch"
    return command(
        nix.container_jail(
            uid=1_000_017,
            files=f"{scratch}/files",
            var=f"{scratch}/var",
            scratch=f"{scratch}/builds",
        )
    )


GENERATORS: Final[dict[str, Callable[[], str]]] = {
    "limits": limits,
    "outcomes": outcomes,
    "vocabulary": vocabulary,
    "settings": settings,
    "jail-stage": stage,
    "jail-evaluator": evaluator,
    "jail-daemon": daemon,
    "jail-in-container": in_container,
    "request-fields": request_fields,
    "object-fields": object_fields,
    "verdicts": verdicts,
    "comparisons": comparisons,
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
