"""The net below a client's cancel: who runs the submission is told, what nobody runs is ended."""

from __future__ import annotations

import logging
from typing import Any, Final

from streams.cancels import tell_runner
from streams.errors import Conflict
from streams.events import Cancelled
from streams.log import EventLog
from streams.queues import Delivery

_LOGGER: Final = logging.getLogger(__name__)
#: A cancel that its runner has heard is looked at again after this.
_REMIND_SECONDS: Final = 1.0


async def cancel(client: Any, log: EventLog, delivery: Delivery, *, by: str) -> None:
    """Handle one delivery of `cancel-requested`. Raises LogUnavailable.

    A worker that takes the submission up at this moment is no danger: it reads the request in
    the log, or its `started` is refused.
    """
    id_ = delivery.event.submission_id
    state = await log.state(id_, reaching=delivery.event.sequence)
    if state.ended or not state.cancel_requested:
        await delivery.done()
        return
    if state.attempts and await tell_runner(client, id_):
        await delivery.later(_REMIND_SECONDS)
        return
    event = Cancelled(submission_id=id_, by=by, attempt=state.attempts)
    try:
        await log.append(event, after=state.sequence)
    except Conflict:
        await delivery.later(_REMIND_SECONDS)
        return
    _LOGGER.info("%s: cancelled; nobody ran it", id_)
    await delivery.done()
