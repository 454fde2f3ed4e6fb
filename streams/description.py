"""What the object store says of one blob, changed only over what was read."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final

import orjson
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

BUCKET: Final = "blobs"
_STREAM: Final = f"OBJ_{BUCKET}"
_MARK: Final = "unused since "
_CHANGED: Final = 10071


class Description:
    """One blob's, as it was read last."""

    def __init__(self, client: Client, sha256: str) -> None:
        self._client = client
        self._js = client.jetstream()
        name = base64.urlsafe_b64encode(sha256.encode()).decode()
        self._subject = f"$O.{BUCKET}.M.{name}"
        self._sequence = 0
        self._fields: dict[str, object] = {}

    async def read(self) -> bool:
        """Whether the blob is there."""
        try:
            found = await self._js.get_last_msg(_STREAM, self._subject)
        except NotFoundError:
            return False
        self._sequence = found.seq or 0
        self._fields = orjson.loads(found.data or b"{}")
        return not self._fields.get("deleted")

    @property
    def unused_since(self) -> datetime | None:
        words = str(self._fields.get("description") or "")
        if not words.startswith(_MARK):
            return None
        return datetime.fromisoformat(words.removeprefix(_MARK))

    async def mark(self, at: datetime | None) -> bool:
        """Write the mark, or take it back. False: somebody was first."""
        words = None if at is None else f"{_MARK}{at.isoformat()}"
        return await self._write(self._fields | {"description": words})

    async def remove(self) -> bool:
        """The description first, so that nobody finds half a blob. False: somebody was first."""
        chunks = f"$O.{BUCKET}.C.{self._fields['nuid']}"
        if not await self._write(self._fields | {"deleted": True, "size": 0, "chunks": 0}):
            return False
        await self._js.purge_stream(_STREAM, subject=chunks)
        # Not what somebody has put there since.
        await self._js.purge_stream(_STREAM, subject=self._subject, seq=self._sequence + 1)
        return True

    async def _write(self, fields: dict[str, object]) -> bool:
        headers = {
            "Nats-Rollup": "sub",
            "Nats-Expected-Last-Subject-Sequence": str(self._sequence),
        }
        try:
            answer = await self._js.publish(self._subject, orjson.dumps(fields), headers=headers)
        except APIError as error:
            if error.err_code == _CHANGED:
                return False
            raise
        self._sequence, self._fields = answer.seq, fields
        return True
