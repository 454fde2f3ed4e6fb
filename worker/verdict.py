"""The judge: what a submission's verdict is, given what its stages have done. Pure.

The verdict of a submission, first that holds:

1. `dependencies-error`: the shell could not be built, for whatever reason. Its outcome stands in
   the object; a limit met by the shell's build says nothing of the program.
2. `compile-error`: compile.sh ended by itself, in failure (`nonzero-exit`, `signalled`);
   otherwise the outcome that stopped it, such as `memory-limit`.
3. that of the first case, in order, that is not `accepted`: `wrong-answer`, `comparison-limit`,
   or the run's outcome when it is not `ok`, whether something was expected of that case or not.
4. `accepted`: every case from which something was expected gave it, and there was one.
5. `ok`: nothing was expected, and every run was `ok`.
"""

from __future__ import annotations

from typing import Final

from init.outcome import Outcome
from streams.fold import Submission
from streams.results import RunResult, StageResult

ACCEPTED: Final = "accepted"
WRONG_ANSWER: Final = "wrong-answer"
COMPILE_ERROR: Final = "compile-error"
#: Its output met the limit on comparing it: nobody knows whether it is right.
COMPARISON_LIMIT: Final = "comparison-limit"
DEPENDENCIES_ERROR: Final = "dependencies-error"

_ENDED_ITSELF: Final = frozenset({Outcome.NONZERO_EXIT, Outcome.SIGNALLED})


def of_run(outcome: Outcome, *, same: bool | None) -> str | None:
    """The verdict of one run; `same`: as was expected, None when nothing was."""
    if same is None:
        return None
    if outcome is not Outcome.OK:
        return outcome.value
    return ACCEPTED if same else WRONG_ANSWER


def of_submission(state: Submission) -> str:
    """The verdict of all that has run."""
    if failed(state.dependencies):
        return DEPENDENCIES_ERROR
    if state.compile is not None and not state.compile.ok:
        outcome = state.compile.outcome
        return COMPILE_ERROR if outcome in _ENDED_ITSELF else outcome.value
    for run in state.runs:
        if (told := _first_word(run)) not in (ACCEPTED, None):
            return told
    judged = any(run.verdict is not None for run in state.runs)
    return ACCEPTED if judged else Outcome.OK.value


def stopped(state: Submission) -> bool:
    """Whether a case has failed and the client wants no other to run after it."""
    return (
        state.request is not None
        and state.request.stop_on_failure
        and any(_first_word(run) not in (ACCEPTED, None) for run in state.runs)
    )


def failed(result: StageResult | None) -> bool:
    """Whether a stage has been run and its end forbids the next."""
    return result is not None and not result.ok


def _first_word(run: RunResult) -> str | None:
    if run.verdict is not None:
        return run.verdict
    return None if run.ok else run.outcome.value
