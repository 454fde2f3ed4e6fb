"""A light load of submissions of every kind, by clients that take up again what broke."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from sandstream.client import TERMINAL, ApiError, Client, UnreachableError
from sandstream.scenes import stamped

SHELL = "{ pkgs ? import <nixpkgs> { } }:\n\npkgs.mkShell {\n  packages = [ pkgs.python3 ];\n}\n"
#: The server is away, or has no room: its client comes again.
AGAIN = frozenset({429, 503})
Answer = TypeVar("Answer")


def body(
    run: str, *, compile_: str | None = None, shell: str = SHELL, cases: list | None = None, **rest
) -> dict[str, Any]:
    files = {"shell.nix": shell, "run.sh": run}
    if compile_ is not None:
        files["compile.sh"] = compile_
    return {
        "files": [{"name": name, "content": text} for name, text in files.items()],
        "test_cases": [{"stdin": "1\n", "expected_stdout": "1\n"}] if cases is None else cases,
        **rest,
    }


def fresh(seconds: float = 0) -> dict[str, Any]:
    """An environment that nobody has built before, one of its parts within these seconds."""
    once = uuid4().hex
    part = f'(pkgs.runCommand "x-{once}" {{ }} "sleep {seconds}; mkdir $out")'
    shell = SHELL.replace("pkgs.python3 ];", f"pkgs.python3 {part} ];") if seconds else SHELL
    return body("cat", shell=stamped(shell, once))


#: Each kind: how often, what is sent, what must come of it.
KINDS: dict[str, tuple[int, Callable[[], dict[str, Any]], str]] = {
    "quick": (4, lambda: body("cat"), "accepted"),
    "slow": (4, lambda: body("sleep 1.2; cat"), "accepted"),
    "compiled": (
        4,
        lambda: body(". ./made", compile_="sleep 0.3; echo 'sleep 0.2; cat' > made"),
        "accepted",
    ),
    "cases": (2, lambda: body("sleep 0.2; cat", cases=[{"stdin": str(n)} for n in range(4)]), "ok"),
    "broken": (1, lambda: body("cat", compile_="exit 3"), "compile-error"),
    "endless": (
        1,
        lambda: body("while :; do sleep 0.1; done", limits={"run": {"wall_seconds": 0.5}}),
        "wall-time-limit",
    ),
    "large": (1, lambda: body("head -c 200000 /dev/zero", cases=[{}]), "ok"),
    "fresh": (2, fresh, "accepted"),
    "built": (3, lambda: fresh(1.5), "accepted"),
    "uncached": (2, lambda: body("sleep 0.3; cat", cache=False), "accepted"),
    "cancelled": (1, lambda: body("sleep 50", limits={"run": {"wall_seconds": 60}}), "cancelled"),
}


@dataclass
class Sent:
    """A submission that was answered 201, and what was seen of it."""

    id: str
    kind: str
    found: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def expected(self) -> str:
        return KINDS[self.kind][2]

    @property
    def told(self) -> str | None:
        """Its end, if its client has stayed for it."""
        found = self.found or {}
        status = found.get("status")
        return found.get("verdict") or status if status in TERMINAL else None


@dataclass
class Load:
    """`clients` of them, each with one submission at a time, until `stop` is set."""

    url: str
    random: random.Random
    clients: int = 5
    patience_seconds: float = 90.0
    sent: list[Sent] = field(default_factory=list)
    refusals: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        kinds = [kind for kind, (often, _, _) in KINDS.items() for _ in range(often)]
        async with Client(self.url, timeout=15.0) as client:
            while not self.stop.is_set():
                await self.one(client, self.random.choice(kinds))

    async def one(self, client: Client, kind: str) -> Sent:
        """Send one and stay with it to its end."""
        began = time.monotonic()
        sending, key = KINDS[kind][1](), uuid4().hex
        sent = Sent(await self.surely(lambda: client.submit(sending, key=key)), kind)
        self.sent.append(sent)
        if kind == "cancelled":
            await asyncio.sleep(self.random.random())
            await self.surely(lambda: client.cancel(sent.id))
        while sent.found is None or sent.found["status"] not in TERMINAL:
            sent.found = await self.surely(lambda: client.get(sent.id, wait=5))
            sent.seconds = time.monotonic() - began
            if sent.seconds > self.patience_seconds:
                break
        return sent

    async def surely(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Again and again, as a client should that knows the server may be away."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return await call()
            except (UnreachableError, httpx.HTTPError, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in AGAIN:
                    raise
                self.refusals += 1
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)
