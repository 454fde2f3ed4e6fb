"""An entry of the read model: the whole `Submission`, or, where that is large, without contents.

Above `ENTRY_BYTES` an entry is `elided`: the bytes of its contents are in the log. One that would
still be above `MOST_BYTES` then, since an event says so, is `cut`: it has what a list shows.
"""

from __future__ import annotations

from operator import not_
from typing import Final

from pydantic import Field

from streams.content import Content, Frozen
from streams.fold import Moment, Submission
from streams.results import StageResult

#: Rewritten at every event of the submission: large contents would cost that each time.
ENTRY_BYTES: Final = 256 * 1024
#: Names, arguments and the timeline have bounds of their own where requests are checked today. The
#: log holds what was accepted before, and an entry must fit into one message whatever that is.
MOST_BYTES: Final = 1024 * 1024
#: Of each text in an entry that is cut.
_LETTERS: Final = 200


class Entry(Frozen):
    """One submission in the read model."""

    submission: Submission
    elided: bool = False
    #: Stands in those alone that are.
    cut: bool = Field(default=False, exclude_if=not_)


def entry(state: Submission) -> Entry:
    """What the read model keeps of a state. Pure, so that an audit can make it again."""
    if _fits(state):
        return Entry(submission=state)
    elided = Entry(submission=_elide(state), elided=True)
    if len(elided.model_dump_json().encode()) <= MOST_BYTES:
        return elided
    return least(state)


def least(state: Submission) -> Entry:
    """The smallest entry: a few kB, whatever the state holds."""
    return Entry(submission=_cut(state), elided=True, cut=True)


def letters(state: Submission) -> int:
    """Of all contents that stand in its events."""
    return sum(len(content.data or "") for content in state.contents())


def _fits(state: Submission) -> bool:
    """Contents are looked at first: no JSON is shorter, and to write it takes seconds at worst."""
    return letters(state) <= ENTRY_BYTES and len(state.model_dump_json()) <= ENTRY_BYTES


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


def _cut(state: Submission) -> Submission:
    """Its ends: the first and the last line of the timeline, and the words of the last."""
    ends = state.timeline[:1] + state.timeline[1:][-1:]
    return Submission(
        id=state.id,
        status=state.status,
        verdict=None if state.verdict is None else state.verdict[:_LETTERS],
        attempts=state.attempts,
        cancel_requested=state.cancel_requested,
        sequence=state.sequence,
        timeline=tuple(map(_short, ends)),
    )


def _short(moment: Moment) -> Moment:
    texts = {"event": moment.event[:_LETTERS], "by": moment.by[:_LETTERS]}
    return moment.model_copy(update=texts)


def _bare(content: Content) -> Content:
    return content.model_copy(update={"data": None})


def _bare_result(result: StageResult | None) -> StageResult | None:
    if result is None:
        return None
    return result.model_copy(
        update={"stdout": _bare(result.stdout), "stderr": _bare(result.stderr)}
    )
