"""Environments that serve one submission alone go when that one can't need them any more."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from builder import nixstore
from builder.catalogue import Catalogue
from builder.errors import StoreFailed
from builder.shared import Shared

_LOGGER: Final = logging.getLogger(__name__)
_EVERY_SECONDS: Final = 600.0
_UNUSED_SECONDS: Final = 5.0


class PrivateEnvironments:
    """Removes those that are older than `grace_seconds`: longer than any submission takes."""

    def __init__(self, shared: Shared, catalogue: Catalogue, grace_seconds: float) -> None:
        self._shared = shared
        self._catalogue = catalogue
        self._grace_seconds = grace_seconds

    async def serve(self) -> None:
        """For ever, now and then; whatever stands in the way is tried again."""
        while True:
            try:
                await self.remove()
            except (StoreFailed, OSError) as error:
                _LOGGER.warning("private environments were not removed: %s", error)
            await asyncio.sleep(_EVERY_SECONDS)

    async def remove(self) -> int:
        """Remove what is due, while nobody uses the store; how many went."""
        before = time.time() - self._grace_seconds
        due = [
            record
            for record, at in await asyncio.to_thread(lambda: list(self._catalogue.used()))
            if record.private_to is not None and at < before
        ]
        if not due:
            return 0
        async with self._shared.unused(_UNUSED_SECONDS) as nobody:
            if not nobody:
                return 0
            gone = [one for one in due if self._catalogue.remove(one.key, unused_since=before)]
            # one by one: a path that has another root stays, and is no reason to keep the rest
            for record in gone:
                try:
                    await nixstore.run(nixstore.delete_argv([record.path]))
                except StoreFailed as error:
                    _LOGGER.info("%s stays in the store: %s", record.path, error.words.strip())
        return len(gone)
