"""An entry of the read model: the whole `Submission`, or, where that is large, without contents.

Above `ENTRY_BYTES` an entry is `elided`: the bytes of its contents are in the log.
"""

from __future__ import annotations

from typing import Final

from streams.content import Content, Frozen
from streams.fold import Submission
from streams.results import StageResult

#: Rewritten at every event of the submission: large contents would cost that each time.
ENTRY_BYTES: Final = 256 * 1024


class Entry(Frozen):
    """One submission in the read model."""

    submission: Submission
    elided: bool = False


def entry(state: Submission) -> Entry:
    """What the read model keeps of a state. Pure, so that an audit can make it again."""
    if len(state.model_dump_json()) <= ENTRY_BYTES:
        return Entry(submission=state)
    return Entry(submission=_elide(state), elided=True)


def _elide(state: Submission) -> Submission:
    request = state.request
    if request is not None:
        files = tuple(f.model_copy(update={"content": _bare(f.content)}) for f in request.files)
        request = request.model_copy(update={"files": files, "test_cases": request.test_cases[:1]})
    return state.model_copy(
        update={
            "request": request,
            "environment": None,
            "dependencies": _bare_result(state.dependencies),
            "compile": _bare_result(state.compile),
            "runs": (),
            "unknown": (),
        }
    )


def _bare(content: Content) -> Content:
    return content.model_copy(update={"data": None})


def _bare_result(result: StageResult | None) -> StageResult | None:
    if result is None:
        return None
    return result.model_copy(
        update={"stdout": _bare(result.stdout), "stderr": _bare(result.stderr)}
    )
