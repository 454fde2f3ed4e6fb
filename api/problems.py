"""Everything that is not a success: `application/problem+json` (RFC 9457), one shape everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
#: More are counted, not listed: a hostile body must not make a larger answer.
_MOST_ERRORS: Final = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad field: where it is (a JSON pointer, or query/… or header/…), and the remedy."""

    field: str
    message: str


class Problem(Exception):
    """An answer that is not a success."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type_: str = "about:blank",
        title: str | None = None,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.type = type_
        self.title = title or HTTPStatus(status).phrase
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def invalid(errors: Sequence[Fault]) -> Problem:
    """The request has faults: all of them are told at once."""
    count = len(errors)
    words = "1 field is wrong" if count == 1 else f"{count} fields are wrong"
    detail = f"{words}; the first: {errors[0].field}: {errors[0].message}"
    return Problem(
        422, detail, type_="/problems/invalid-request", title="Invalid request", errors=errors
    )


def too_large(limit: int) -> Problem:
    return Problem(
        413,
        f"the body is larger than {limit} bytes: send fewer or smaller files",
        type_="/problems/too-large",
        title="Request too large",
        extra={"limit_bytes": limit},
    )


def unknown_submission(submission_id: str) -> Problem:
    return Problem(
        404,
        f"there is no submission {submission_id[:64]!r}",
        type_="/problems/unknown-submission",
        title="Unknown submission",
    )


def archived(submission_id: str, period: str) -> Problem:
    """It was here; whoever keeps the archive has it."""
    return Problem(
        410,
        f"the events of submission {submission_id} have left the log: they are in the archive's "
        f"file of {period}; to send it once more under an Idempotency-Key, use a new key",
        type_="/problems/archived",
        title="The submission has been archived",
        extra={"id": submission_id, "period": period},
    )


def unavailable(detail: str, *, retry_after: int = 2) -> Problem:
    return Problem(
        503,
        detail,
        type_="/problems/log-unavailable",
        title="The event log is not available",
        headers={"Retry-After": str(retry_after)},
    )


def busy(what: str, held: int, most: int, *, retry_after: int = 2) -> Problem:
    """`held` bytes of what is being sent, and no room for more."""
    return Problem(
        503,
        f"{held} bytes of {what} are being sent at this moment, the most is {most}: "
        f"try again in {retry_after} s",
        type_="/problems/busy",
        title="Too much is being sent",
        headers={"Retry-After": str(retry_after)},
        extra={"held_bytes": held, "most_bytes": most},
    )


def full(detail: str) -> Problem:
    """507 and no Retry-After: trying again does not help until an operator has made room."""
    return Problem(507, detail, type_="/problems/log-full", title="The event log is full")


def response(problem: Problem) -> Response:
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    if problem.errors:
        body["errors"] = [asdict(fault) for fault in problem.errors[:_MOST_ERRORS]]
        if len(problem.errors) > _MOST_ERRORS:
            body["errors_left_out"] = len(problem.errors) - _MOST_ERRORS
    return Response(
        orjson.dumps(body), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )
