"""Which requests are let in, by their Host, their Origin and their key. Pure.

A web page that a person of this host looks at can send requests here. The Host tells a name that
its owner has pointed at us, the Origin whose page it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from api.keys import Keys
from api.problems import Problem

#: Whoever looks after the process has no key, and may call it by any name.
OPEN: Final = frozenset({"/healthz", "/readyz"})
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(address: str) -> bool:
    """Whether only this host reaches it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def host_of(header: str) -> str:
    """The name or address in a Host header, without its port; empty where it has none."""
    try:
        found = urlsplit(f"//{header}")
        if found.path or found.query or found.fragment or found.username is not None:
            return ""
        found.port  # noqa: B018 - raises for what is no number: `our.name:80, another.name`
        return (found.hostname or "").removesuffix(".")
    except ValueError:
        return ""


def origin(text: str) -> str:
    """An origin of a setting, as browsers write it. Raises ValueError."""
    found = urlsplit(text)
    plain = f"{found.scheme}://{found.netloc}"
    if found.scheme not in {"http", "https"} or not found.hostname or plain != text.lower():
        raise ValueError(f"{text!r} is no origin: write scheme://host or scheme://host:port")
    return plain


@dataclass(frozen=True, slots=True)
class Rules:
    """Which requests are let in. `hosts` without ports, all in lower case."""

    hosts: frozenset[str]
    origins: frozenset[str]
    keys: Keys | None

    def foreign(self, path: str, headers: Headers) -> Problem | None:
        """Why a request has come by a way that it should not have."""
        host = headers.get("host", "")
        if path not in OPEN and host_of(host) not in self.hosts:
            return Problem(
                421,
                f"the header Host is {host[:100]!r}, which is no name of this server: "
                "call it by one, or have its operator add the name to SANDSTREAM_ALLOWED_HOSTS",
                type_="/problems/unknown-host",
            )
        came_from = headers.get("origin")
        if came_from is None or self.own(came_from, host) or came_from in self.origins:
            return None
        return Problem(
            403,
            f"the header Origin is {came_from[:100]!r}: pages of other origins may not call this "
            "server unless its operator adds theirs to SANDSTREAM_ALLOWED_ORIGINS",
            type_="/problems/foreign-origin",
        )

    def own(self, came_from: str, host: str) -> bool:
        """Whether a page of this server sends it."""
        return came_from.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}

    def caller(self, path: str, headers: Headers) -> str | None:
        """The name to the request's key; None where no key is needed. Raises Problem 401."""
        if self.keys is None or path in OPEN:
            return None
        said = headers.get("authorization")
        name = self.keys.caller(said)
        if name is None:
            what = "needs a key" if said is None else "does not know this key"
            raise Problem(
                401,
                f"this server {what}: send the header Authorization: Bearer KEY",
                type_="/problems/key-needed",
                headers={"WWW-Authenticate": 'Bearer realm="sandstream"'},
            )
        return name


def rules(hosts: Iterable[str], origins: Iterable[str], keys: Keys | None) -> Rules:
    """`hosts`: beside the names of the loopback device, by which no stranger is ever called."""
    named = {host.strip("[]").lower() for host in hosts} - {""}
    return Rules(LOOPBACK.union(named), frozenset(origins), keys)
