"""A folder on disk as the body of a submission."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

#: The rest of the body: `cache`, `limits`, `test_cases`. Not sent as a file.
REST: Final = "submission.json"


class NoSubmissionError(Exception):
    """The folder is none, or lacks what every submission has."""


def load(folder: Path) -> dict[str, Any]:
    """The request's body. Files that are no text go as base64."""
    if not folder.is_dir():
        raise NoSubmissionError(f"{folder} is no folder")
    body: dict[str, Any] = {}
    rest = folder / REST
    if rest.exists():
        body = json.loads(rest.read_text())
    body["files"] = [
        _file(path.relative_to(folder).as_posix(), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != rest
    ]
    return body


def _file(name: str, data: bytes) -> dict[str, str]:
    try:
        return {"name": name, "content": data.decode()}
    except UnicodeDecodeError:
        content = base64.b64encode(data).decode("ascii")
        return {"name": name, "content": content, "encoding": "base64"}
