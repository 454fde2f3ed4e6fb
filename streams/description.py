"""What the object store says of one blob, changed only over what was read."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from streams import events
from streams.chunks import BUCKET, CHUNK_BYTES, STREAM, Chunks, purge
from streams.errors import LogFull
from streams.refusals import CONFLICTS, FULL

PREFIX: Final = f"$O.{BUCKET}.M."
_MARK: Final = "unused since "


class Description:
    """One blob's, as it was read last. What is written raises LogFull, NatsError, APIError."""

    def __init__(self, client: Client, sha256: str) -> None:
        self._client = client
        self._js = client.jetstream()
        self._sha256 = sha256
        name = base64.urlsafe_b64encode(sha256.encode()).decode()
        self._subject = f"{PREFIX}{name}"
        self._sequence = 0
        self._fields: dict[str, Any] = {}

    async def read(self) -> bool:
        """Whether the blob is there, as the stream's leader has it."""
        try:
            found = await self._js.get_last_msg(STREAM, self._subject)
        except NotFoundError:
            return False
        self._sequence = found.seq or 0
        self._fields = orjson.loads(found.data or b"{}")
        return not self._fields.get("deleted")

    @property
    def chunks(self) -> Chunks:
        """Where its bytes are, once it was read and is there."""
        fields = self._fields
        return Chunks(fields["nuid"], fields.get("chunks") or 0, fields.get("size") or 0)

    @property
    def unused_since(self) -> datetime | None:
        words = str(self._fields.get("description") or "")
        if not words.startswith(_MARK):
            return None
        return datetime.fromisoformat(words.removeprefix(_MARK))

    async def create(self, chunks: Chunks) -> bool:
        """Say where the bytes are, as the object store's clients expect it. False: as `mark`."""
        digest = base64.urlsafe_b64encode(bytes.fromhex(self._sha256)).decode()
        return await self._write(
            {
                "name": self._sha256,
                "bucket": BUCKET,
                "nuid": chunks.nuid,
                "size": chunks.size,
                "chunks": chunks.count,
                "digest": f"SHA-256={digest}",
                "mtime": events.now().isoformat(),
                "options": {"max_chunk_size": CHUNK_BYTES},
            }
        )

    async def mark(self, at: datetime | None) -> bool:
        """Write the mark, or take it back. False: somebody was first."""
        words = None if at is None else f"{_MARK}{at.isoformat()}"
        return await self._write(self._fields | {"description": words})

    async def remove(self) -> bool:
        """The description first, so that nobody finds half a blob. False: somebody was first.

        By a purge of what was read alone, since nothing can be written where there is no room.
        """
        if not await purge(self._client, self._subject, upto=self._sequence):
            return False
        await purge(self._client, self.chunks.subject)
        return True

    async def _write(self, fields: dict[str, Any]) -> bool:
        headers = {
            "Nats-Rollup": "sub",
            "Nats-Expected-Last-Subject-Sequence": str(self._sequence),
        }
        try:
            answer = await self._js.publish(self._subject, orjson.dumps(fields), headers=headers)
        except APIError as error:
            if error.err_code in CONFLICTS:
                return False
            if error.err_code in FULL:
                raise LogFull(str(error.description), STREAM) from error
            raise
        self._sequence, self._fields = answer.seq, fields
        return True
