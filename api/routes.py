"""The calls on submissions, as docs/api.md fixes them."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from api import listing, models, views
from api.doors import caller_of
from api.problems import MEDIA_TYPE, Problem
from api.raw import bytes_of
from api.rendering import Json, array
from api.services import Services, connected, of
from api.sse import Stream, seen
from api.submit import key_of
from streams.cancels import tell_runner
from streams.errors import LogUnavailable
from streams.events import TERMINAL
from streams.fold import Status, Submission
from streams.replay import told

_LOGGER: Final = logging.getLogger(__name__)
_PROBLEM: Final[dict[str, Any]] = {
    "model": models.ProblemAnswer,
    "content": {MEDIA_TYPE: {}},
}
_410: Final[dict[str, Any]] = _PROBLEM | {"description": "Its events have been archived."}
_ABSENT: Final[dict[int | str, dict[str, Any]]] = {
    404: _PROBLEM | {"description": "Unknown id."},
    410: _410,
}

router = APIRouter(
    prefix="/submissions",
    tags=["submissions"],
    dependencies=[Depends(connected)],
    responses={
        422: _PROBLEM | {"description": "Faults of the request, one entry in errors for each."},
        503: _PROBLEM
        | {"description": "The log is away, or too much is being sent; see Retry-After."},
    },
)
Wait = Annotated[
    float | None,
    Query(ge=0, allow_inf_nan=False, description="Seconds to wait for the end; cut to a setting."),
]


async def _ended(
    request: Request,
    submission_id: str,
    wait: float,
    known: Submission | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """`known`: it is recorded, so that an error would only make the client send it again."""
    own = of(request)
    seconds = min(wait, own.settings.max_wait_seconds)
    gone = request.is_disconnected
    status = 200 if known is None else 201
    state, whole = await own.states.ended(submission_id, seconds, gone, known=known)
    try:
        return await own.objects.of(state, whole, status, headers)
    except (LogUnavailable, Problem):
        if known is None:
            raise
        return Json(views.whole(state if whole else known, {}), status, headers)


@router.post(
    "",
    status_code=201,
    summary="Submit a program",
    response_model=models.AcceptedAnswer | models.SubmissionAnswer,
    responses={
        409: _PROBLEM | {"description": "The Idempotency-Key stands for another request."},
        410: _410,
        429: _PROBLEM | {"description": "Too many are under way; see Retry-After."},
        408: _PROBLEM | {"description": "The body did not arrive in time."},
        413: _PROBLEM | {"description": "The body is too large."},
        507: _PROBLEM | {"description": "The event log is full."},
    },
)
async def create(
    request: Request,
    wait: Wait = None,
    idempotency_key: Annotated[
        str | None, Header(description="The same key and body: the same submission again.")
    ] = None,
) -> Response:
    """Records a submission. With `wait` the answer is the whole object, at its end or time-out."""
    state, again = await _created(request, key_of(idempotency_key))
    headers = _headers(state.id, again=again)
    if wait is None:
        return Json(views.accepted(state.id, state.status), 201, headers)
    return await _ended(request, state.id, wait, state, headers)


def _headers(submission_id: str, *, again: bool) -> dict[str, str]:
    headers = {"Location": f"/submissions/{submission_id}"}
    return headers | {"Idempotency-Replayed": "true"} if again else headers


async def _created(request: Request, key: str | None) -> tuple[Submission, bool]:
    """The body is let go with this call: who waits for the end may do so for minutes."""
    own = of(request)
    async with own.bodies.read(request) as data, own.turns:
        return await own.submissions.create(own.reader.read(data), key, caller_of(request))


@router.get("", summary="List submissions", response_model=models.PageAnswer)
async def index(
    request: Request,
    status: Annotated[Status | None, Query(description="Only those of this status.")] = None,
    cursor: Annotated[int | None, Query(ge=0, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Newest first, from the read model: a moment behind what single submissions show."""
    own = of(request)
    return Json(
        await listing.page(own.client, own.states, status=status, before=cursor, limit=limit)
    )


@router.get(
    "/{submission_id}",
    summary="Show a submission",
    response_model=models.SubmissionAnswer,
    responses=_ABSENT,
)
async def show(
    request: Request,
    submission_id: str,
    wait: Wait = None,
    at: Annotated[int | None, Query(ge=0, description="As it was after this sequence.")] = None,
) -> Response:
    """The object: now, or with `wait` at its end, or with `at` as it was then."""
    if wait is not None and at is None:
        return await _ended(request, submission_id, wait)
    objects = of(request).objects
    return await (objects.now(submission_id) if at is None else objects.at(submission_id, at))


@router.get(
    "/{submission_id}/events",
    summary="Follow a submission's events",
    response_class=Response,
    responses=_ABSENT
    | {
        200: {"content": {"text/event-stream": {}}, "description": "id, event, data: the event."},
        204: {"description": "The client has seen the last event: no more follow."},
    },
)
async def follow(
    request: Request,
    submission_id: str,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
    after: Annotated[int, Query(ge=0, description="The same, for a first connection.")] = 0,
) -> Response:
    """Server-Sent Events: `id` is the stream's sequence. Ends after the terminal event."""
    own = of(request)
    state = await own.states.outline(submission_id)
    after = await seen(own.log, state.sequence, last_event_id=last_event_id, after=after)
    if any(m.event in TERMINAL and m.sequence <= after for m in state.timeline):
        return Response(status_code=204)  # anything else would make a browser come again
    stream = Stream(own.log, own.live, own.settings.heartbeat_seconds, own.stopping)
    return StreamingResponse(
        own.metrics.counted(stream.lines(submission_id, after, ended=state.ended)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/{submission_id}/history", summary="Every event, as recorded", responses=_ABSENT)
async def history(request: Request, submission_id: str) -> Response:
    """A JSON array in order. Large contents stand in it by their digest."""
    own = of(request)
    await own.states.outline(submission_id)
    return await array(views.event(one) async for one in told(own.log, submission_id))


@router.post(
    "/{submission_id}/cancel",
    status_code=202,
    summary="Cancel a submission",
    response_model=models.AcceptedAnswer,
    responses=_ABSENT | {409: _PROBLEM | {"description": "It has ended already."}},
)
async def cancel(request: Request, submission_id: str) -> Response:
    """Records the wish; the submission has ended once its status is `cancelled`. Again is fine."""
    own = of(request)
    state = await own.submissions.cancel(submission_id)
    return Json(
        views.accepted(state.id, state.status), 202, background=BackgroundTask(_tell, own, state.id)
    )


@router.post(
    "/{submission_id}/retry",
    status_code=201,
    summary="Send a failed submission once more",
    response_model=models.AcceptedAnswer,
    responses=_ABSENT
    | {
        409: _PROBLEM | {"description": "It has not failed."},
        429: _PROBLEM | {"description": "Too many are under way; see Retry-After."},
        507: _PROBLEM | {"description": "The event log is full."},
    },
)
async def retry(request: Request, submission_id: str) -> Response:
    """A new submission with the same request, as the log has it. Again is the same one."""
    own = of(request)
    async with own.turns:
        state, again = await own.submissions.retry(submission_id)
    headers = _headers(state.id, again=again)
    return Json(views.accepted(state.id, state.status), 201, headers)


@router.get(
    "/{submission_id}/runs/{case}/{stream}", responses=_ABSENT, summary="A run's raw output"
)
async def run_output(request: Request, submission_id: str, case: str, stream: str) -> Response:
    return await bytes_of(of(request), submission_id, "runs", case, stream)


@router.get("/{submission_id}/{stage}/{stream}", responses=_ABSENT, summary="A stage's raw output")
async def stage_output(request: Request, submission_id: str, stage: str, stream: str) -> Response:
    return await bytes_of(of(request), submission_id, stage, None, stream)


async def _tell(own: Services, submission_id: str) -> None:
    try:
        await tell_runner(own.client, submission_id)
    except Exception:  # only a shortcut: the event is recorded, and its queue is the net below
        _LOGGER.warning("could not tell the runner of %s", submission_id, exc_info=True)
