"""Environments: what was built, from which shell and how often it was used; and asking for one."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from api import models, views
from api.doors import caller_of
from api.ids import well_formed
from api.problems import MEDIA_TYPE, Problem
from api.rendering import Json
from api.services import Services, connected, of
from api.sse import Stream, seen
from streams.content import Content
from streams.environments import STORE_PATHS, Environment
from streams.errors import BlobMissing
from streams.events import ROOT, WARM, AnyEvent, CancelRequested, DepsBuilt, DepsQueued
from streams.fold import Status, Submission
from streams.readmodel import Built
from streams.replay import events_of
from streams.request import File
from streams.results import StageResult

_PROBLEM: Final[dict[str, Any]] = {"model": models.ProblemAnswer, "content": {MEDIA_TYPE: {}}}

router = APIRouter(
    prefix="/environments",
    tags=["environments"],
    dependencies=[Depends(connected)],
    responses=dict.fromkeys((422, 503), _PROBLEM),
)
_404: Final[dict[int | str, dict[str, Any]]] = {404: _PROBLEM}


@router.post(
    "",
    status_code=201,
    summary="Build an environment before anybody submits it",
    response_model=models.WantedAnswer | models.BuiltEnvironmentAnswer,
    responses={
        200: {
            "description": "It is being built already.",
            "model": models.WantedAnswer | models.BuiltEnvironmentAnswer,
        },
        **dict.fromkeys((408, 413, 429, 507), _PROBLEM),
    },
)
async def warm(
    request: Request,
    wait: Annotated[
        float | None,
        Query(ge=0, allow_inf_nan=False, description="Seconds to wait; cut to a setting."),
    ] = None,
) -> Response:
    """Its builders' answer comes as an event, and as its `status`. Again is fine, and quick."""
    own = of(request)
    id_, state, again = await _asked(own, request)
    headers = {"Location": f"/environments/{id_}"}
    status = 200 if again else 201
    if wait is None:
        wanted = {"id": id_, "status": _status(None, state), "links": _links(id_)}
        return Json(wanted, status, headers)
    seconds = min(wait, own.settings.max_wait_seconds)
    await own.environments.answered(id_, seconds, own.stopping)
    return Json(await _shown(own, id_), status, headers)


async def _asked(own: Services, request: Request) -> tuple[str, Submission, bool]:
    async with own.bodies.read(request) as data:
        shell = own.reader.read_shell(data)
        return shell.environment_id, *await own.environments.warm(shell, caller_of(request))


@router.post(
    "/{environment_id}/cancel",
    status_code=202,
    summary="Withdraw one's wish for an environment",
    response_model=models.WantedAnswer,
    responses=_404 | {409: _PROBLEM | {"description": "A builder has answered already."}},
)
async def cancel(request: Request, environment_id: str) -> Response:
    """The build ends, unless other callers or submissions wait for it. Again is fine."""
    own = of(request)
    if not well_formed(environment_id):
        raise _unknown(environment_id)
    state = await own.environments.cancel(environment_id, caller_of(request))
    answer = {
        "id": environment_id,
        "status": _status(None, state),
        "links": _links(environment_id),
    }
    return Json(answer, 202)


@router.get("", summary="Built environments", response_model=list[models.BuiltAnswer])
async def index(
    request: Request,
    cursor: Annotated[int | None, Query(ge=0, description="Of the page before's `Link`.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Newest first; the header `Link` names the next page where there is one.

    What a submission builds in its own container is not kept and not listed.
    """
    own = of(request)
    newest = await own.built.newest(own.client, await own.states.generation())
    known = [one for one in newest if cursor is None or one.sequence < cursor]
    page = known[:limit]
    headers = {}
    if len(known) > limit:
        there = f"/environments?limit={limit}&cursor={page[-1].sequence}"
        headers["Link"] = f'<{there}>; rel="next"'
    return Json([_line(built.id, built, "built") for built in page], headers=headers)


@router.get(
    "/{environment_id}",
    summary="An environment",
    response_model=models.BuiltEnvironmentAnswer,
    responses=_404,
)
async def show(request: Request, environment_id: str) -> Response:
    """Its shell's files, its closure with sizes and references, what its build said, its use."""
    return Json(await _shown(of(request), environment_id))


@router.get(
    "/{environment_id}/events",
    summary="Follow an environment's own events",
    response_class=Response,
    responses=_404
    | {
        200: {"content": {"text/event-stream": {}}, "description": "id, event, data: the event."},
        204: {"description": "The client has seen the last event: no more follow."},
    },
)
async def follow(
    request: Request,
    environment_id: str,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
    after: Annotated[int, Query(ge=0, description="The same, for a first connection.")] = 0,
) -> Response:
    """Server-Sent Events of the last time that it was asked for with POST /environments."""
    own = of(request)
    story = await _story(own, environment_id)
    if not story.sequence:
        raise Problem(404, f"nobody has asked for environment {environment_id[:64]!r} by itself")
    # Its asking may have left the log, and the answer not.
    asked = max((m.sequence for m in story.timeline if m.event == Status.DEPS_QUEUED), default=0)
    after = await seen(own.log, story.sequence, last_event_id=last_event_id, after=after)
    after = max(after, asked - 1)
    if story.status is not Status.DEPS_QUEUED and after >= story.sequence:
        return Response(status_code=204)  # anything else would make a browser come again
    stream = Stream(own.log, own.live, own.settings.heartbeat_seconds, own.stopping)
    return StreamingResponse(
        own.metrics.counted(stream.lines(environment_id, after, root=WARM, last=_is_last)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _is_last(event: AnyEvent) -> bool:
    """Of a story: a builder's answer, or the cancel after which nobody waits for one."""
    return isinstance(event, DepsBuilt) or (isinstance(event, CancelRequested) and not event.others)


async def _story(own: Services, environment_id: str) -> Submission:
    if not well_formed(environment_id):
        raise _unknown(environment_id)
    return await own.environments.story(environment_id)


def _unknown(environment_id: str) -> Problem:
    return Problem(404, f"no environment {environment_id[:64]!r} has been built or asked for")


async def _shown(own: Services, environment_id: str) -> dict[str, Any]:
    """The whole of it: out of the story of its making, or of the last time it was asked for."""
    story = await _story(own, environment_id)
    built = await (await own.states.generation()).environment(environment_id)
    if built is None and story.environment is not None:
        built = _built_in(story)  # the read model is a moment behind
    if built is None and not story.sequence:
        raise _unknown(environment_id)
    queued, said = await _making(own, built, environment_id)
    fresh = built is not None or story.status is Status.DEPS_BUILT
    environment = said.environment if said and built else None
    files = queued.files if queued else ()
    result = said.result if said and fresh else None
    fetched = await own.objects.fetched(_contents(files, result))
    return (
        _line(environment_id, built, _status(built, story))
        | {
            "channel": queued.channel if queued else None,
            "path": environment.path if environment else None,
            "closure": list(environment.closure) if environment else [],
            "paths": await _paths(own, environment),
        }
        | views.build(files, result, fetched)
    )


async def _making(
    own: Services, built: Built | None, environment_id: str
) -> tuple[DepsQueued | None, DepsBuilt | None]:
    """What was asked of a builder, and its answer."""
    if built is None:
        told = await events_of(own.log, environment_id, root=WARM)
    else:
        root = WARM if built.warm else ROOT
        told = await events_of(own.log, built.submission_id, upto=built.sequence, root=root)
    queued = [event for event in told if isinstance(event, DepsQueued)]
    said = [event for event in told if isinstance(event, DepsBuilt)]
    return (queued[-1] if queued else None), (said[-1] if said else None)


def _built_in(story: Submission) -> Built:
    last = next(moment for moment in reversed(story.timeline) if moment.event == Status.DEPS_BUILT)
    return Built(
        id=story.id,
        how=story.how or "",
        submission_id=story.id,
        sequence=last.sequence,
        at=last.at,
        by=last.by,
        warm=True,
        size_bytes=story.environment.size_bytes if story.environment else None,
        hits=int(story.how != "built"),
        last_used=last.at,
    )


async def _paths(own: Services, environment: Environment | None) -> list[dict[str, Any]] | None:
    """Null where its builder did not tell."""
    if environment is None or environment.paths is None:
        return None
    try:
        data = await own.blobs.bytes_of(environment.paths)
    except BlobMissing:
        return None
    return [path.model_dump(mode="json") for path in STORE_PATHS.validate_json(data)]


def _contents(files: tuple[File, ...], result: StageResult | None) -> list[Content]:
    said = [] if result is None else [result.stdout, result.stderr]
    return [*(file.content for file in files), *said]


def _status(built: Built | None, story: Submission) -> str:
    if built is not None:
        return "built"
    if story.status is Status.CANCEL_REQUESTED:
        return "cancelled"
    return "queued" if story.status is Status.DEPS_QUEUED else "failed"


def _line(environment_id: str, built: Built | None, status: str) -> dict[str, Any]:
    fields = {} if built is None else built.model_dump(mode="json")
    return {
        "id": environment_id,
        "status": status,
        "how": fields.get("how"),
        "built_at": fields.get("at"),
        "by": fields.get("by"),
        "submission": None
        if built is None or built.warm
        else f"/submissions/{built.submission_id}",
        "sequence": fields.get("sequence"),
        "size_bytes": fields.get("size_bytes"),
        "hits": fields.get("hits", 0),
        "last_used": fields.get("last_used"),
        "links": _links(environment_id),
    }


def _links(environment_id: str) -> dict[str, str]:
    here = f"/environments/{environment_id}"
    return {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"}
