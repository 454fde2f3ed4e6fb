"""Counts and times in Prometheus' text format."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.health import Health

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
#: A stranger may call a method anything: a label of its own for each would be kept for ever.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Requests by method, route and status; their times by route."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.buckets: Counter[tuple[str, float]] = Counter()
        self.streams = 0

    def seen(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[method, route, status] += 1
        self.seconds[route] += seconds  # type: ignore[assignment]
        for bound in _BUCKETS:
            if seconds <= bound:
                self.buckets[route, bound] += 1

    async def counted(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """An event stream, counted for as long as it is open."""
        self.streams += 1
        try:
            async for line in lines:
                yield line
        finally:
            self.streams -= 1

    def text(self, health: Health, attacks: int = 0) -> str:
        name = "sandstream_http_request_seconds"
        lines = ["# TYPE sandstream_http_requests_total counter"]
        by_route: Counter[str] = Counter()
        for (method, route, status), count in sorted(self.requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            lines.append(f"sandstream_http_requests_total{{{labels}}} {count}")
            by_route[route] += count
        lines.append(f"# TYPE {name} histogram")
        for route, count in sorted(by_route.items()):
            for bound in _BUCKETS:
                labels = f'route="{route}",le="{bound}"'
                lines.append(f"{name}_bucket{{{labels}}} {self.buckets[route, bound]}")
            lines.append(f'{name}_bucket{{route="{route}",le="+Inf"}} {count}')
            lines.append(f'{name}_sum{{route="{route}"}} {self.seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{route}"}} {count}')
        refused = "sandstream_builds_refused_as_attacks_total"
        lines += [f"# TYPE {refused} counter", f"{refused} {attacks}"]
        gauges = {
            "sandstream_ready": 0 if health.faults else 1,
            "sandstream_event_streams": self.streams,
            "sandstream_log_last_sequence": health.last_sequence,
            "sandstream_projector_checkpoint": health.checkpoint,
            "sandstream_projector_lag_events": health.lag,
        }
        for gauge, value in gauges.items():
            if value is not None:
                lines += [f"# TYPE {gauge} gauge", f"{gauge} {value}"]
        return "\n".join(lines) + "\n"


class Measured:
    """Counts each request when its answer begins: a long poll's time is its client's wish."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "(none)")
                method = scope["method"] if scope["method"] in _METHODS else "(other)"
                seconds = time.perf_counter() - started
                self._metrics.seen(method, route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, measured)
