"""The end of a submission that needs no container any more: its event, and words for it. Pure."""

from __future__ import annotations

from typing import Any

from streams.events import Cancelled, Failed, Finished
from streams.fold import Submission
from worker.decide import Cancel, Finish, GiveUp


def ending(
    state: Submission, decision: Finish | Cancel | GiveUp, by: str
) -> Finished | Cancelled | Failed:
    """The terminal event that a decision asks for."""
    whose: dict[str, Any] = {"submission_id": state.id, "by": by, "attempt": decision.attempt}
    match decision:
        case Finish(verdict):
            return Finished(verdict=verdict, **whose)
        case Cancel():
            return Cancelled(**whose)
        case GiveUp(reasons):
            return Failed(reasons=reasons, **whose)


def told(decision: Finish | Cancel | GiveUp) -> str:
    """The same for the log of the process."""
    match decision:
        case Finish(verdict):
            return f"{verdict}, without a container"
        case Cancel():
            return "as asked"
        case GiveUp(reasons):
            return f"after {len(reasons)} attempts: {reasons[-1]}"
