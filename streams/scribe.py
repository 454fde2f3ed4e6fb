"""A writer of one submission's story: it knows the state so far and appends the next event."""

from __future__ import annotations

from streams.errors import Conflict
from streams.events import Known
from streams.fold import Submission, fold
from streams.log import EventLog


class Scribe:
    """Appends events after the state it has seen; once it was refused it never writes again.

    That is what makes a zombie harmless: a worker that wakes up late knows an old state, and the
    log refuses whatever it says.
    """

    def __init__(self, log: EventLog, state: Submission) -> None:
        self._log = log
        self.state = state
        self.refused = False

    async def record(self, event: Known) -> Submission:
        """Append and fold one event. Raises Conflict when the submission has moved on."""
        if self.refused:
            raise Conflict(event.submission_id, self.state.sequence)
        try:
            sequence = await self._log.append(event, after=self.state.sequence)
        except Conflict:
            self.refused = True
            raise
        self.state = fold(self.state, _recorded(event, sequence))
        return self.state


def _recorded(event: Known, sequence: int) -> Known:
    return event.model_copy(update={"sequence": sequence})
