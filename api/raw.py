"""What a stage wrote, byte for byte."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from api.problems import Problem
from api.services import Services
from streams.events import ROOT, Compiled, DepsBuilt, Ran
from streams.fold import Status, Submission
from streams.replay import read_all
from streams.results import StageResult

_STREAMS: Final = ("stdout", "stderr")
#: It is a stranger's output: a browser must neither guess its type nor run it.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


async def bytes_of(
    own: Services, submission_id: str, stage: str, case: str | None, stream: str
) -> Response:
    """Raises Problem 404 for what is not there, or not yet."""
    state, whole = await own.states.look(submission_id)
    if stream not in _STREAMS or stage not in {"dependencies", "compile", "runs"}:
        raise Problem(404, "outputs are {dependencies | compile | runs/N}/{stdout | stderr}")
    if whole:
        result = _result(state, stage, case)
    else:
        result = await _of_large(own, state, stage, case)
    if result is None:
        what = stage if case is None else f"{stage}/{case[:20]}"
        raise Problem(404, f"{what} has no result (yet): the submission's status is {state.status}")
    content = result.stdout if stream == "stdout" else result.stderr
    with own.answers.share(content.size) as share:
        data = await own.blobs.bytes_of(content)
        return own.answers.response(
            data, share, media_type="application/octet-stream", headers=_HEADERS
        )


async def _of_large(
    own: Services, state: Submission, stage: str, case: str | None
) -> StageResult | None:
    """From its own event: each reading of all of them, for each of its outputs, would take long."""
    attempts = [moment.sequence for moment in state.timeline if moment.event == Status.STARTED]
    if len(attempts) < state.attempts:  # the outline has not all of its timeline
        return _result(await own.states.now(state.id), stage, case)
    name = _event(state, stage, case)
    if name is None:
        return None
    subject = f"{ROOT}.{state.id}.{name}"
    said = await own.log.fresh(subject, lambda: read_all(own.log, subject=subject))
    # An attempt that was lost may have said the same of what runs again since.
    after = 0 if name == Status.DEPS_BUILT else max(attempts, default=0)
    found = [event for event in said if after < event.sequence <= state.sequence]
    last = found[-1] if found else None
    return last.result if isinstance(last, DepsBuilt | Compiled | Ran) else None


def _event(state: Submission, stage: str, case: str | None) -> str | None:
    """The end of the subject of the event that tells of a stage."""
    match stage:
        case "dependencies":
            if state.dependencies is None:  # of an attempt that was lost, if there was one
                return None
            kept = state.how != "in-container"
            return Status.DEPS_BUILT if kept else f"{Status.DEPS_BUILT}.in-container"
        case "compile":
            return Status.COMPILED
        case _:
            known = case is not None and case.isascii() and case.isdecimal()
            return f"{Status.RAN}.{case}" if known else None


def _result(state: Submission, stage: str, case: str | None) -> StageResult | None:
    match stage:
        case "dependencies":
            return state.dependencies
        case "compile":
            return state.compile
        case _:
            return next((run for run in state.runs if str(run.case) == case), None)
