"""A small asynchronous client of the HTTP interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypedDict

import httpx

from sandstream.sse import ServerEvent, parse

TERMINAL: Final = frozenset({"finished", "failed", "cancelled"})
_RETRY_SECONDS: Final = 0.5
#: A server that restarts is back by then.
_RETRIES: Final = 20
_UNAVAILABLE: Final = 503


class StageResult(TypedDict, total=False):
    """What a stage did; the same for dependencies, compile and each run."""

    outcome: str
    exit_code: int | None
    signal: str | None
    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    stdout: str | None
    stdout_encoding: str
    stderr: str | None
    stderr_encoding: str
    message: str | None
    verdict: str | None


class Submission(TypedDict, total=False):
    """A submission as the server shows it."""

    id: str
    status: str
    request: dict[str, Any]
    environment: dict[str, Any]
    dependencies: StageResult | None
    compile: StageResult | None
    runs: list[StageResult]
    verdict: str | None
    attempts: int
    failures: list[str]
    sequence: int
    timeline: list[dict[str, Any]]


class ApiError(Exception):
    """The server refused; `errors` has one entry for each bad field."""

    def __init__(self, status: int, title: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        lines = [f"{status} {title}" + (f": {detail}" if detail else "")]
        lines += ["  " + ": ".join(_words(error)) for error in errors]
        super().__init__("\n".join(lines))


class UnreachableError(Exception):
    """Nobody answers at the address."""


def _passes(error: ApiError | UnreachableError) -> bool:
    """Whether the same may be answered in a moment."""
    return isinstance(error, UnreachableError) or error.status == _UNAVAILABLE


def _words(error: Mapping[str, Any]) -> list[str]:
    """One bad field: where, then what is wrong with it."""
    return [str(error[name]) for name in ("field", "message") if error.get(name)] or [str(error)]


def error_of(answer: httpx.Response) -> ApiError:
    """The problem document of an answer, or what can be said without one."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": answer.reason_phrase, "detail": answer.text[:500]}
    errors = problem.get("errors")
    return ApiError(
        answer.status_code,
        str(problem.get("title") or answer.reason_phrase),
        str(problem.get("detail") or ""),
        errors if isinstance(errors, list) else [],
    )


class Client:
    """`async with Client(url) as client: ...`; every call raises ApiError or UnreachableError."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 30.0) -> None:
        """`key`: one of the server's, where it has any."""
        self.url = url
        # No proxy of the environment stands between us and a local server. A redirect is not
        # followed, so that the key goes to nobody else.
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout,
            trust_env=False,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
        )
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def submit(self, body: Mapping[str, Any], *, key: str | None = None) -> str:
        """Send one submission; returns its id. With the same `key` it is there only once."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = await self._call("POST", "/submissions", json=dict(body), headers=headers)
        id_: str = answer.json()["id"]
        return id_

    async def get(
        self, id_: str, *, wait: float | None = None, at: int | None = None
    ) -> Submission:
        """The submission now, or at its end if that comes within `wait` seconds, or as it was."""
        asked = {"wait": wait, "at": at}
        answer = await self._call(
            "GET",
            f"/submissions/{id_}",
            params={name: value for name, value in asked.items() if value is not None},
            timeout=self._timeout + (wait or 0),
        )
        found: Submission = answer.json()
        return found

    async def run(self, body: Mapping[str, Any], *, within: float = 600.0) -> Submission:
        """Send it and wait for its end."""
        return await self.end_of(await self.submit(body), within=within)

    async def end_of(self, id_: str, *, within: float = 600.0) -> Submission:
        """Wait for the end of one that was sent. Raises TimeoutError.

        A server that can't tell just now, or starts anew, is asked again: nothing is lost.
        """
        deadline = asyncio.get_running_loop().time() + within
        failures = 0
        while True:
            try:
                found = await self.get(id_, wait=25)
            except (ApiError, UnreachableError) as error:
                failures += 1
                late = asyncio.get_running_loop().time() > deadline
                if not _passes(error) or failures > _RETRIES or late:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            failures = 0
            if found["status"] in TERMINAL:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{id_} is {found['status']} after {within:g} s")

    async def page(self, **filters: str | int) -> dict[str, Any]:
        """One page of submissions, newest first."""
        answer = await self._call("GET", "/submissions", params=filters)
        found: dict[str, Any] = answer.json()
        return found

    async def history(self, id_: str) -> list[dict[str, Any]]:
        """Every event, as recorded."""
        answer = await self._call("GET", f"/submissions/{id_}/history")
        found: list[dict[str, Any]] = answer.json()
        return found

    async def cancel(self, id_: str) -> None:
        """Ask for its end."""
        await self._call("POST", f"/submissions/{id_}/cancel")

    async def retry(self, id_: str) -> str:
        """Send one that was given up once more, as it was; the new one's id, again the same."""
        answer = await self._call("POST", f"/submissions/{id_}/retry")
        new: str = answer.json()["id"]
        return new

    async def raw(self, id_: str, stage: str, channel: str) -> bytes:
        """Everything that a stage (`dependencies`, `compile`, `runs/0`) wrote to one channel."""
        return (await self._call("GET", f"/submissions/{id_}/{stage}/{channel}")).content

    async def events(self, id_: str, *, after: int = 0) -> AsyncGenerator[ServerEvent, None]:
        """Its events as they happen, to the last one; nothing where `after` is the last one.

        A broken connection, and a server that can't tell just now, is taken up again.
        """
        failures = 0
        while True:
            came = False
            try:
                async with self._stream(id_, after) as response:
                    failures = 0
                    if response.status_code == httpx.codes.NO_CONTENT:
                        return
                    async for event in parse(response.aiter_lines()):
                        came = True
                        after = event.sequence
                        yield event
                        if event.name in TERMINAL:
                            return
            except (httpx.TransportError, ApiError) as error:
                failures += 1
                if isinstance(error, ApiError):
                    if not _passes(error) or failures > _RETRIES:
                        raise
                elif failures > _RETRIES:
                    raise UnreachableError(f"{self.url} does not answer: {error!r}") from error
            if not came:  # else it broke on its way, and whoever follows wants what is next
                await asyncio.sleep(_RETRY_SECONDS)

    @asynccontextmanager
    async def _stream(self, id_: str, after: int) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        path = f"/submissions/{id_}/events"
        timeout = httpx.Timeout(self._timeout, read=60.0)  # heartbeats come far more often
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.is_error:
                await response.aread()
                raise error_of(response)
            yield response

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            try:
                answer = await self._http.request(method, path, **options)
            except httpx.RemoteProtocolError:
                # The server has closed an idle connection: what changes nothing is asked again.
                if method != "GET":
                    raise
                answer = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(f"{self.url} does not answer: {error!r}") from error
        if answer.is_error:
            raise error_of(answer)
        return answer
