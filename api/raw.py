"""What a stage wrote, byte for byte."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from api.problems import Problem
from api.services import Services
from streams.fold import Submission
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
    state = await own.states.now(submission_id)
    if stream not in _STREAMS or stage not in {"dependencies", "compile", "runs"}:
        raise Problem(404, "outputs are {dependencies | compile | runs/N}/{stdout | stderr}")
    result = _result(state, stage, case)
    if result is None:
        what = stage if case is None else f"{stage}/{case[:20]}"
        raise Problem(404, f"{what} has no result (yet): the submission's status is {state.status}")
    content = result.stdout if stream == "stdout" else result.stderr
    data = await own.blobs.bytes_of(content)
    return Response(data, media_type="application/octet-stream", headers=_HEADERS)


def _result(state: Submission, stage: str, case: str | None) -> StageResult | None:
    match stage:
        case "dependencies":
            return state.dependencies
        case "compile":
            return state.compile
        case _:
            return next((run for run in state.runs if str(run.case) == case), None)
