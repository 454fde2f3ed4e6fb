"""What a request may hold and an answer holds, read from their JSON schemas."""

from __future__ import annotations

import json
from typing import Any

from api import models
from api.limits import LimitOverrides
from api.schema import body_model


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


def request() -> str:
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


def _table(*parts: tuple[str, dict[str, Any]]) -> str:
    """Of an answer: a row for each field of each (prefix, schema), without a default."""
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for prefix, schema in parts:
        for row in _fields(schema, prefix):
            name, kind, _, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
            rows.append(f"| {name} | {kind} | {meaning} |")
    return "\n".join(rows)


def answer() -> str:
    """What a GET of one submission answers."""
    run = models.RunAnswer.model_json_schema()
    stage = models.StageAnswer.model_json_schema()
    return _table(
        ("", models.SubmissionAnswer.model_json_schema()),
        ("runs[].", run | {"properties": {k: v for k, v in run["properties"].items()
                                          if k not in stage["properties"]}}),
        ("*stage*.", stage),
    )  # fmt: skip


def page() -> str:
    """What the list of submissions answers."""
    return _table(
        ("", models.PageAnswer.model_json_schema()),
        ("submissions[].", models.SummaryAnswer.model_json_schema()),
    )


def languages() -> str:
    """What GET /languages answers."""
    return _table(("[].", models.LanguageAnswer.model_json_schema()))
