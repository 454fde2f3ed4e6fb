"""What is known of a submission whose events have left the log: that it was, and where it is."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from streams.content import Frozen
from streams.errors import LogUnavailable
from streams.reading import subjects_of

BUCKET: Final = "archived"
_PREFIX: Final = f"$KV.{BUCKET}."


class Archived(Frozen):
    """One submission of the archive: `period` names the file that its story begins in."""

    id: str
    period: str
    sequence: int
    status: str
    submitted_at: datetime | None = None


class Register:
    """They stay for ever, one small entry each: the read model is made from the log, these not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream()
        self._opened: KeyValue | None = None

    async def find(self, submission_id: str) -> Archived | None:
        """Raises LogUnavailable."""
        try:
            found = await (await self._bucket()).get(submission_id)
        except (KeyNotFoundError, NotFoundError):
            return None
        except (NatsError, JetStreamError) as error:
            what = f"look for {submission_id} in the archive's register"
            raise LogUnavailable(what, repr(error)) from error
        return Archived.model_validate_json(found.value or b"")

    async def note(self, one: Archived) -> None:
        """Again does no harm."""
        try:
            await (await self._bucket()).put(one.id, one.model_dump_json().encode())
        except (NatsError, JetStreamError) as error:
            raise LogUnavailable(f"note {one.id} as archived", repr(error)) from error

    async def _bucket(self) -> KeyValue:
        if self._opened is None:
            self._opened = await self._js.key_value(BUCKET)
        return self._opened

    async def ids(self) -> set[str]:
        subjects = subjects_of(self._client, f"KV_{BUCKET}", f"{_PREFIX}*")
        return {subject.removeprefix(_PREFIX) async for subject in subjects}
