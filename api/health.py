"""Whether the API is able to serve: NATS, the stream, and how far the read model is behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from api.problems import Fault, Problem
from streams.errors import LogUnavailable
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.replay import Connection

#: Below this the read model is merely busy.
_LAG: Final = 1000


@dataclass(frozen=True, slots=True)
class Health:
    """Numbers for /metrics, sentences for a person."""

    last_sequence: int | None
    checkpoint: int | None
    faults: tuple[Fault, ...]

    @property
    def lag(self) -> int | None:
        if self.last_sequence is None or self.checkpoint is None:
            return None
        return max(self.last_sequence - self.checkpoint, 0)


async def look(client: Connection, log: EventLog, model: ReadModel) -> Health:
    if not client.is_connected:
        message = "no connection to the NATS server: is it up, and is SANDSTREAM_NATS_URL right?"
        return Health(None, None, (Fault("nats", message),))
    try:
        last = await log.last_sequence()
    except LogUnavailable as error:
        return Health(None, None, (Fault("stream", f"{error}; was it set up?"),))
    try:
        checkpoint = await (await model.live()).checkpoint()
    except LogUnavailable as error:
        return Health(last, None, (Fault("read-model", str(error)),))
    return Health(last, checkpoint, ())


def answer(health: Health) -> dict[str, Any]:
    """What /readyz says. Raises Problem 503 when the API can't serve.

    A projector that lags is told, not held against us: single submissions are read from the log.
    """
    if health.faults:
        first = health.faults[0]
        raise Problem(
            503,
            f"{first.field}: {first.message}",
            type_="/problems/not-ready",
            title="Not ready",
            errors=health.faults,
            headers={"Retry-After": "2"},
        )
    behind = health.lag or 0
    return {
        "status": "ready",
        "last_sequence": health.last_sequence,
        "projector": {
            "checkpoint": health.checkpoint,
            "lag": behind,
            "note": None
            if behind < _LAG
            else "the list of submissions is behind: is `python -m projector` running?",
        },
    }
