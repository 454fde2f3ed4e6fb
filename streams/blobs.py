"""Large bodies: the object store, by digest. Written before the event that names them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from streams import description
from streams.content import Content
from streams.description import Description
from streams.errors import BlobMissing, LogUnavailable
from streams.reading import subjects_of

BUCKET: Final = description.BUCKET
#: A transfer can hang across a server's restart: nothing here waits longer than this.
_TIMEOUT_SECONDS: Final = 60.0
_TRIES: Final = 3
_REST_SECONDS: Final = 0.3


class Blobs:
    """Bytes by sha256. The same bytes are stored once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream()

    async def put_all(self, blobs: Mapping[str, bytes]) -> None:
        """Store each under its digest, unless it is there. Raises LogUnavailable."""
        for sha256, data in blobs.items():
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await self._put(sha256, data)
            except (NatsError, JetStreamError, OSError) as error:
                raise LogUnavailable(f"store blob {sha256}", repr(error)) from error

    async def bytes_of(self, content: Content) -> bytes:
        """The bytes, from the event itself or from the store. Raises BlobMissing."""
        data = content.inline()
        if data is not None:
            return data
        if content.sha256 is None:
            raise BlobMissing("(none)", "content holds neither data nor a digest")
        return await self._get(content.sha256)

    async def names(self) -> list[str]:
        """The digest of everything that was ever stored, sorted. Raises LogUnavailable."""
        prefix = f"$O.{BUCKET}.M."
        subjects = subjects_of(self._client, f"OBJ_{BUCKET}", f"{prefix}>")
        coded = [subject.removeprefix(prefix) async for subject in subjects]
        return sorted(base64.urlsafe_b64decode(name).decode() for name in coded)

    async def _put(self, sha256: str, data: bytes) -> None:
        """What was found unused and is wanted again must not be removed (`unused.py`)."""
        while True:
            known = Description(self._client, sha256)
            if not await known.read():
                store = await self._js.object_store(BUCKET)
                await store.put(sha256, io.BytesIO(data))
                return
            if known.unused_since is None or await known.mark(None):
                return

    async def _get(self, sha256: str) -> bytes:
        for _ in range(_TRIES - 1):
            try:
                return await self._get_once(sha256)
            except LogUnavailable:  # a replica that answers may not have all of it yet
                await asyncio.sleep(_REST_SECONDS)
        return await self._get_once(sha256)

    async def _get_once(self, sha256: str) -> bytes:
        target = io.BytesIO()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                store = await self._js.object_store(BUCKET)
                # Into a file: nats-py's own way into memory copies the whole for every chunk.
                await store.get(sha256, writeinto=target)
        except NotFoundError as error:
            raise BlobMissing(sha256, "not in the object store") from error
        except (NatsError, JetStreamError, OSError) as error:
            raise LogUnavailable(f"read blob {sha256}", repr(error)) from error
        data = target.getvalue()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobMissing(sha256, "the object store holds other bytes under this digest")
        return data
