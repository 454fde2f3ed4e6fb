"""A submission as clients see it. Pure: contents that are not in the events are handed in."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from streams import entries
from streams.content import Content, text_or_base64
from streams.events import Event, record
from streams.fold import Moment, Status, Submission
from streams.request import File, Request
from streams.results import RunResult, StageResult

#: Up to here contents stand in the object; larger ones have a call of their own.
IN_PLACE_BYTES: Final = 1024 * 1024
#: And so much JSON of one object's contents: 512 cases could have gigabytes of it.
IN_PLACE_TOTAL_BYTES: Final = 64 * 1024 * 1024
#: Longer texts are put in as JSON already, since it was made to see how much that is.
_SHORT_LETTERS: Final = 1024

Fetched = Mapping[str, bytes]


class _Shown:
    """The contents that stand in place, in their order; a blob may do so at several places."""

    def __init__(self, fetched: Fetched) -> None:
        self._fetched = fetched
        self._left = IN_PLACE_TOTAL_BYTES

    def get(self, content: Content) -> tuple[str | orjson.Fragment | None, str]:
        """The text and its encoding; null where it is in neither place, or beyond the room."""
        if content.data is not None:
            return self._put(content.data), content.encoding
        data = self._fetched.get(content.sha256 or "")
        if data is None or len(data) > min(IN_PLACE_BYTES, self._left):
            return None, content.encoding
        if content.encoding == "base64":
            return self._put(base64.b64encode(data).decode()), "base64"
        text, encoding = text_or_base64(data)
        return self._put(text), encoding

    def _put(self, text: str) -> str | orjson.Fragment | None:
        if len(text) > self._left:  # its JSON is no shorter
            return None
        json = orjson.dumps(text)
        size = len(json) - len('""')
        if size > self._left:
            return None
        self._left -= size
        return text if len(text) <= _SHORT_LETTERS else orjson.Fragment(json)


def wanted(state: Submission) -> list[Content]:
    """The contents of the object that are not in the events but in the blob store."""
    return absent(state.contents())


def absent(contents: Iterable[Content]) -> list[Content]:
    """Those that are in the blob store and may be shown in place, given in the order of showing.

    By their sizes: what they take as JSON is at least that, and known when they are fetched.
    """
    left = IN_PLACE_TOTAL_BYTES
    found = []
    for content in contents:
        size = content.size if content.data is None else len(content.data)
        fits = size <= (min(IN_PLACE_BYTES, left) if content.data is None else left)
        left -= size if fits else 0
        if fits and content.data is None:
            found.append(content)
    return found


def letters(state: Submission) -> int:
    """Of all contents that stand in its events: the object is no smaller."""
    return min(entries.letters(state), IN_PLACE_TOTAL_BYTES)


def whole(state: Submission, fetched: Fetched) -> dict[str, Any]:
    """The object, for orjson. A content neither in the events nor in `fetched` is null."""
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
        "files": [_file(one, shown) | {"protected": one.protected} for one in request.files],
        "cache": request.cache,
        "limits": {
            "dependencies": asdict(request.limits.dependencies),
            "compile": asdict(request.limits.compile),
            "run": asdict(request.limits.run),
            "total": asdict(request.limits.total),
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
    text, found = (None, "utf8") if content is None else shown.get(content)
    return {name: text, encoding: found}
