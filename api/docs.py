"""The page at /docs: the OpenAPI document as plain HTML, without any file from elsewhere.

FastAPI's own page loads its program from a public server, and is blank where there is no internet.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f4f4f2;border-radius:4px}
code{padding:.1em .3em}pre{padding:.8em;overflow:auto}
h2{border-top:1px solid #ddd;padding-top:1rem}h3 code{font-size:15px}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25em .6em;
border-bottom:1px solid #eee;vertical-align:top}summary{cursor:pointer}
.get{color:#05679e}.post{color:#1d7a36}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code,pre{background:#262626}
td,th{border-color:#333}h2{border-color:#333}a{color:#7bb8ff}.get{color:#7bb8ff}.post{color:#7fd694}}
"""


def _prose(text: str) -> str:
    """Text whose `names` are set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def page(document: dict[str, Any]) -> str:
    info = document["info"]
    calls = "".join(
        _call(method, path, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    )
    schemas = "".join(
        _schema(name, schema)
        for name, schema in document["components"]["schemas"].items()
        if name not in {"HTTPValidationError", "ValidationError"}
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}</h1><p>{_prose(info.get('description', ''))}</p>"
        "<p>The same for programs: <a href=/openapi.json>/openapi.json</a></p>"
        f"<h2>Try it</h2>{_example(document)}"
        f"<h2>Calls</h2>{calls}<h2>Shapes</h2>{schemas}</html>"
    )


def _example(document: dict[str, Any]) -> str:
    content = document["paths"]["/submissions"]["post"]["requestBody"]["content"]
    body = json.dumps(content["application/json"]["example"], indent=2)
    key = " -H 'Authorization: Bearer KEY'" if "security" in document else ""
    command = (
        f"curl -sS{key} --json @- 'http://127.0.0.1:8000/submissions?wait=60' <<'END'\n"
        + body
        + "\nEND"
    )
    return f"<pre>{escape(command)}</pre>"


def _call(method: str, path: str, call: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
        f"<td>{escape(_type(one.get('schema', {})))}<td>{_prose(one.get('description', ''))}"
        for one in call.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td><code>{escape(code)}</code><td>{_prose(one.get('description', ''))}"
        f"<td>{_links(one)}"
        for code, one in call.get("responses", {}).items()
    )
    body = _links(call["requestBody"]) if "requestBody" in call else ""
    return (
        f"<h3><code class={escape(method)}>{escape(method.upper())} {escape(path)}</code> "
        f"{_prose(call.get('summary', ''))}</h3><p>{_prose(call.get('description', ''))}</p>"
        + (f"<p>Body: {body}</p>" if body else "")
        + (f"<table>{rows}</table>" if rows else "")
        + f"<details><summary>Answers</summary><table>{answers}</table></details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' (optional)'}"
        f"<td>{_links(one) or escape(_type(one))}<td>{_prose(one.get('description', ''))}"
        for field, one in schema.get("properties", {}).items()
    )
    values = ", ".join(escape(str(value)) for value in schema.get("enum", []))
    return (
        f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{_prose(schema.get('description', ''))}</p>"
        + (f"<p>{values}</p>" if values else "")
        + (f"<table>{rows}</table>" if rows else "")
    )


def _links(part: Any) -> str:
    """Links to every shape that a part of the document refers to."""
    return ", ".join(
        f"<a href='#{escape(name)}'>{escape(name)}</a>" for name in dict.fromkeys(_names(part))
    )


def _names(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"].rsplit("/", 1)[1]] if isinstance(part.get("$ref"), str) else []
        return own + [name for value in part.values() for name in _names(value)]
    if isinstance(part, list):
        return [name for value in part for name in _names(value)]
    return []


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    words = [str(schema.get("type", "any"))]
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']}")
    if "minimum" in schema:
        words.append(f"at least {schema['minimum']}")
    if "maximum" in schema:
        words.append(f"at most {schema['maximum']}")
    return " ".join(words)
