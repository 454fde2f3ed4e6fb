"""The first to see a request: refuses it, or passes it on with its caller's name."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body import drop, of_wrong_form
from api.problems import Problem, response
from api.rules import Rules

_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CORS_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
_CORS_SHOWN: Final = "Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate"
_CORS_SECONDS: Final = "600"


class Doors:
    """Answers what may not come in; who comes in is `caller_of` to the routes."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        refused = self._rules.foreign(path, headers)
        if refused is None and (came_from := headers.get("origin")) in self._rules.origins:
            send = _shared(send, came_from or "")
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight()(scope, receive, send)
                return
        try:
            if refused is not None:
                raise refused
            scope.setdefault("state", {})["caller"] = self._rules.caller(path, headers)
            if scope["method"] not in _CHANGES_NOTHING and (wrong := of_wrong_form(headers)):
                raise wrong
        except Problem as problem:
            # who is still sending would see the connection's end in place of the answer
            await drop(Request(scope, receive))
            await response(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def caller_of(request: Request) -> str | None:
    """The name of the key that the request has brought; None on a server without keys."""
    found: str | None = request.state.caller
    return found


def _preflight() -> Response:
    """What a browser asks before it sends a page's request; it has no key then."""
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": _CORS_HEADERS,
            "Access-Control-Max-Age": _CORS_SECONDS,
        },
    )


def _shared(send: Send, came_from: str) -> Send:
    """The page of that origin may read the answer."""

    async def shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = came_from
            headers["Access-Control-Expose-Headers"] = _CORS_SHOWN
            headers.add_vary_header("Origin")
        await send(message)

    return shared
