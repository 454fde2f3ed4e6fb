"""Which hosts may be reached, and at which addresses. Pure: nothing is resolved here.

A list is entries, with white space or commas between them, each in one of these forms:

`cache.example.org`              this name, ports 443 and 80
`cache.example.org:8080`         this name, this port
`*.example.org:443`              any name below it
`10.1.2.3:8080`, `[fd00::1]:80`  this address
`mirror.lan:443:10.1.2.3`        this name, which is at this address, whatever a resolver says

A name that resolves to an address which is not of the public internet is refused: who owns the
name would choose which of the host's own services answers. An entry's own address is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

_PORTS: Final = frozenset({80, 443})
_SCHEMES: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65535
_ENTRY: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)"
    r"(?::(?P<port>[0-9]{1,5})(?::(?P<address>\[[0-9A-Fa-f:.]+\]|[0-9.]+))?)?"
)
_FORM: Final = "host, host:port or host:port:address, where a host may be *.domain"
#: An IPv4 address inside of an IPv6 one is reached where such a gateway is.
_NAT64: Final = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Rule:
    """One host that may be reached.

    `host` is a name in lower case, an address without brackets, `*.` and a name, or `*` alone.
    No `ports`: any. `address`: where the name is. `private`: it may be at an address that is not
    of the public internet.
    """

    host: str
    ports: frozenset[int] = _PORTS
    address: str | None = None
    private: bool = False

    def names(self, host: str, port: int) -> bool:
        if self.ports and port not in self.ports:
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


#: Whatever the public internet has.
ANYTHING: Final = Rule("*", frozenset())


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of a list. Raises ValueError, which names the entry."""
    return tuple(_rule(entry) for entry in text.replace(",", " ").split())


def _rule(entry: str) -> Rule:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not {_FORM}")
    host = plain(found["host"])
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port <= _MOST_PORT:
        raise ValueError(f"{entry!r}: there is no port {port}")
    address = plain(found["address"]) if found["address"] else None
    if address is not None and _address(address) is None:
        raise ValueError(f"{entry!r}: {address!r} is no address")
    if address is not None and (host.startswith("*") or _address(host) is not None):
        raise ValueError(f"{entry!r}: an address belongs to one name")
    return Rule(
        host,
        _PORTS if port is None else frozenset({port}),
        address,
        private=address is not None or _address(host) is not None,
    )


def of_urls(urls: str) -> tuple[Rule, ...]:
    """The hosts of substituters: an administrator has named them, so they may be anywhere.

    What is not served over HTTP (`s3://`, `file://`) is not reached this way, and left out.
    """
    found = []
    for url in urls.replace(",", " ").split():
        parts = urlsplit(url)
        if parts.scheme in _SCHEMES and parts.hostname:
            port = parts.port or _SCHEMES[parts.scheme]
            found.append(Rule(plain(parts.hostname), frozenset({port}), private=True))
    return tuple(found)


def rule_for(rules: Iterable[Rule], host: str, port: int) -> Rule | None:
    """The first rule that names them; `host` as `plain` gives it."""
    return next((rule for rule in rules if rule.names(host, port)), None)


def plain(host: str) -> str:
    """A name or address as rules have it: no brackets, no dot at its end, lower case."""
    return host.strip("[]").rstrip(".").lower()


def known(rule: Rule, host: str) -> str | None:
    """The address, where nobody needs to be asked for it."""
    return rule.address or (host if _address(host) is not None else None)


def may_be_at(rule: Rule, address: str) -> bool:
    """Whether the host of this rule may be reached at this address."""
    return rule.private or public(address)


def public(address: str) -> bool:
    """Whether it is an address of the public internet; False for what is no address."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or _behind_nat64(found)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return found is not None and found.is_global and not found.is_multicast


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
