"""Submissions as answers: small ones at once, large ones a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from api import views
from api.answers import Answers
from api.rendering import Json
from api.states import States
from streams.blobs import Blobs
from streams.content import Content
from streams.errors import BlobMissing
from streams.fold import Submission

#: Large ones at once: each takes its story, what is fetched, and its JSON twice.
_LARGE: Final = 2
#: Blobs of one object that are fetched at once.
_FETCHES: Final = 4


class Objects:
    """Renders them. What is large counts from before it is read until it has been taken."""

    def __init__(self, states: States, blobs: Blobs, answers: Answers) -> None:
        self._states = states
        self._blobs = blobs
        self._answers = answers
        self._large = asyncio.Semaphore(_LARGE)

    async def now(self, submission_id: str) -> Response:
        """Raises Problem 404, 410, 503 when too much is being sent, LogUnavailable."""
        return await self.of(*await self._states.look(submission_id))

    async def at(self, submission_id: str, sequence: int) -> Response:
        """As it was after this event. How large that is shows when it has been read."""
        async with self._large:
            return await self._made(await self._states.at(submission_id, sequence))

    async def of(
        self,
        state: Submission,
        whole: bool,  # noqa: FBT001 - as States.look says it
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Of a state that is held, or, where it is no more than an outline, of all of it."""
        if whole and size(state) <= views.IN_PLACE_BYTES:
            return await self._made(state, status, headers)
        async with self._large:
            if not whole:
                state = await self._states.now(state.id)
            return await self._made(state, status, headers)

    async def _made(
        self, state: Submission, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The object as JSON, with contents of up to 1 MiB fetched."""
        expected = size(state)
        with self._answers.share(expected) as share:
            fetched = await self.fetched(views.wanted(state))
            if expected <= views.IN_PLACE_BYTES:
                data = _rendered(state, fetched)
            else:
                data = await asyncio.to_thread(_rendered, state, fetched)
            return self._answers.response(
                data, share, media_type=Json.media_type, status=status, headers=headers
            )

    async def fetched(self, contents: Iterable[Content]) -> dict[str, bytes]:
        """Those of the contents that lie in the blob store and can be shown in place."""
        slots = asyncio.Semaphore(_FETCHES)
        found: dict[str, bytes] = {}

        async def fetch(content: Any) -> None:
            async with slots:
                try:
                    found[content.sha256] = await self._blobs.bytes_of(content)
                except BlobMissing:
                    return  # shown as null; the raw call says which blob is missing

        wanted = {content.sha256: content for content in views.absent(contents)}
        await asyncio.gather(*(fetch(content) for content in wanted.values()))
        return found


def size(state: Submission) -> int:
    """How large the object is, at least; in bytes, and before anything of it is fetched."""
    return views.letters(state) + sum(content.size for content in views.wanted(state))


def _rendered(state: Submission, fetched: views.Fetched) -> bytes:
    return orjson.dumps(views.whole(state, fetched))
