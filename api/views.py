"""A submission as clients see it. Pure: contents that are not in the events are handed in."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from streams.content import Content, text_or_base64
from streams.events import Event, record
from streams.fold import Moment, Status, Submission
from streams.request import File, Request
from streams.results import RunResult, StageResult

#: Up to here contents stand in the object; larger ones have a call of their own.
IN_PLACE_BYTES: Final = 1024 * 1024
#: And so much of one object's blobs: 512 cases could have a gigabyte of them.
IN_PLACE_TOTAL_BYTES: Final = 64 * 1024 * 1024

Fetched = Mapping[str, bytes]


class _Room:
    """What is left of the object's size for blobs, given to contents in their order."""

    def __init__(self) -> None:
        self._left = IN_PLACE_TOTAL_BYTES

    def has(self, content: Content) -> bool:
        if content.data is not None or content.size > min(IN_PLACE_BYTES, self._left):
            return False
        self._left -= content.size
        return True


class _Shown:
    """Those of the blobs that stand in place; a blob may do so at several places."""

    def __init__(self, fetched: Fetched) -> None:
        self._fetched = fetched
        self._room = _Room()

    def get(self, content: Content) -> bytes | None:
        return self._fetched.get(content.sha256 or "") if self._room.has(content) else None


def wanted(state: Submission) -> list[Content]:
    """The contents of the object that are not in the events but in the blob store."""
    return absent(state.contents())


def absent(contents: Iterable[Content]) -> list[Content]:
    """Those that are in the blob store and are shown in place, given in the order of showing."""
    return list(filter(_Room().has, contents))


def whole(state: Submission, fetched: Fetched) -> dict[str, Any]:
    """The object. A content that is neither in the events nor in `fetched` is null."""
    shown = _Shown(fetched)
    return {
        "id": state.id,
        "status": state.status.value,
        "request": None if state.request is None else _request(state.request, shown),
        "environment": {
            "id": state.environment_id,
            "how": state.how,
            "cache_miss": state.cache_miss,
        },
        "dependencies": _result(state.dependencies, shown),
        "compile": _result(state.compile, shown),
        "runs": [_run(run, shown) for run in state.runs],
        "verdict": state.verdict,
        "attempts": state.attempts,
        "failures": list(state.failures),
        "sequence": state.sequence,
        "timeline": [_moment(moment) for moment in state.timeline],
        "unknown": list(state.unknown),
        "links": links(state.id),
    }


def summary(state: Submission) -> dict[str, Any]:
    """A line of the list."""
    return {
        "id": state.id,
        "status": state.status.value,
        "verdict": state.verdict,
        "attempts": state.attempts,
        "sequence": state.sequence,
        "submitted_at": _time(state.timeline[0]) if state.timeline else None,
        "updated_at": _time(state.timeline[-1]) if state.timeline else None,
        "links": links(state.id),
    }


def accepted(submission_id: str, status: Status) -> dict[str, Any]:
    return {"id": submission_id, "status": status.value, "links": links(submission_id)}


def links(submission_id: str) -> dict[str, str]:
    here = f"/submissions/{submission_id}"
    return {
        "self": here,
        "events": f"{here}/events",
        "history": f"{here}/history",
        "cancel": f"{here}/cancel",
    }


def event(one: Event) -> dict[str, Any]:
    """An event of the history and of the event stream: as recorded."""
    return record(one)


def build(files: Iterable[File], result: StageResult | None, fetched: Fetched) -> dict[str, Any]:
    """What a builder was given, and what came of it."""
    shown = _Shown(fetched)
    return {"files": [_file(one, shown) for one in files], "result": _result(result, shown)}


def _file(file: File, shown: _Shown) -> dict[str, Any]:
    return {"name": file.name} | _keyed("content", "encoding", file.content, shown)


def _request(request: Request, shown: _Shown) -> dict[str, Any]:
    """The same shape as the body of a POST, with every default in its place."""
    return {
        "files": [_file(one, shown) for one in request.files],
        "cache": request.cache,
        "limits": {
            "dependencies": asdict(request.limits.dependencies),
            "compile": asdict(request.limits.compile),
            "run": asdict(request.limits.run),
        },
        "test_cases": [
            _text("stdin", case.stdin, shown)
            | {"args": list(case.args), "args_encoding": case.args_encoding}
            | _text("expected_stdout", case.expected_stdout, shown)
            | {"compare": case.compare}
            for case in request.test_cases
        ],
        "stop_on_failure": request.stop_on_failure,
    }


def _result(result: StageResult | None, shown: _Shown) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "outcome": result.outcome.value,
        "exit_code": result.exit_code,
        "signal": result.signal,
        "wall_seconds": result.wall_seconds,
        "cpu_seconds": result.cpu_seconds,
        "cpu_user_seconds": result.cpu_user_seconds,
        "cpu_system_seconds": result.cpu_system_seconds,
        "memory_peak_bytes": result.memory_peak_bytes,
        **_text("stdout", result.stdout, shown),
        "stdout_total": result.stdout_total,
        **_text("stderr", result.stderr, shown),
        "stderr_total": result.stderr_total,
        "message": result.message,
    }


def _run(run: RunResult, shown: _Shown) -> dict[str, Any]:
    return {"case": run.case, "verdict": run.verdict} | (_result(run, shown) or {})


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "event": moment.event,
        "at": _time(moment),
        "sequence": moment.sequence,
        "by": moment.by,
        "attempt": moment.attempt,
    }


def _time(moment: Moment) -> str:
    return moment.model_dump(mode="json", include={"at"})["at"]  # type: ignore[no-any-return]


def _text(name: str, content: Content | None, shown: _Shown) -> dict[str, Any]:
    return _keyed(name, f"{name}_encoding", content, shown)


def _keyed(name: str, encoding: str, content: Content | None, shown: _Shown) -> dict[str, Any]:
    if content is None:
        return {name: None, encoding: "utf8"}
    if content.data is not None:
        return {name: content.data, encoding: content.encoding}
    data = shown.get(content)
    if data is None:
        return {name: None, encoding: content.encoding}
    if content.encoding == "base64":
        return {name: base64.b64encode(data).decode(), encoding: "base64"}
    text, found = text_or_base64(data)
    return {name: text, encoding: found}
