"""Large bodies: the object store, by digest. Written before the event that names them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import Final
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from streams import chunks
from streams.chunks import STREAM, Chunks
from streams.content import Content
from streams.description import PREFIX, Description
from streams.errors import BlobMissing, LogUnavailable
from streams.reading import subjects_of

BUCKET: Final = chunks.BUCKET
#: A transfer can hang across a server's restart: nothing here waits longer than this.
_TIMEOUT_SECONDS: Final = 60.0
_TRIES: Final = 3
_REST_SECONDS: Final = 0.3
_LOOK_SECONDS: Final = 0.02


class Blobs:
    """Bytes by sha256. The same bytes are stored once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._storing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def put_all(self, blobs: Mapping[str, bytes]) -> None:
        """Store each under its digest, unless it is there. Raises LogUnavailable, LogFull."""
        for sha256, data in blobs.items():
            one_of_us = self._storing.setdefault(sha256, asyncio.Lock())
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS), one_of_us:
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
        subjects = subjects_of(self._client, STREAM, f"{PREFIX}>")
        coded = [subject.removeprefix(PREFIX) async for subject in subjects]
        return sorted(base64.urlsafe_b64decode(name).decode() for name in coded)

    async def _put(self, sha256: str, data: bytes) -> None:
        """Another process may be first: then what it has described is there, and ours is not.

        What was found unused and is wanted again must not be removed (`unused.py`).
        """
        written: Chunks | None = None
        while True:
            known = Description(self._client, sha256)
            if not await known.read():
                written = written or await chunks.write(self._client, sha256, data)
                if await known.create(written):
                    return
            elif known.unused_since is None or await known.mark(None):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _get(self, sha256: str) -> bytes:
        for _ in range(_TRIES - 1):
            try:
                return await self._get_once(sha256)
            except LogUnavailable:  # a replica that answers may not have all of it yet
                await asyncio.sleep(_REST_SECONDS)
        return await self._get_once(sha256)

    async def _get_once(self, sha256: str) -> bytes:
        known = Description(self._client, sha256)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                if not await known.read():
                    raise BlobMissing(sha256, "not in the object store")
                data = await chunks.read(self._client, known.chunks)
        except NotFoundError as error:
            raise BlobMissing(sha256, "the object store lacks a part of it") from error
        except (NatsError, JetStreamError, OSError) as error:
            raise LogUnavailable(f"read blob {sha256}", repr(error)) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobMissing(sha256, "the object store holds other bytes under this digest")
        return data
