"""A request to a proxy as bytes, and an answer of its own. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from egress.rules import plain

#: A request's first line and headers; what is longer is no fetcher's.
HEAD_BYTES: Final = 32 * 1024
END: Final = b"\r\n\r\n"

_LINE: Final = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.[01]")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#]+):([0-9]{1,5})")
_HEADER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*")
#: Between client and proxy, or told anew.
_NOT_PASSED_ON: Final = frozenset(
    {b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"host"}
)
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


class BadRequestError(ValueError):
    """Not a request to a proxy."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked for. `head` is sent on; empty for a tunnel, whose client speaks itself."""

    host: str
    port: int
    head: bytes = b""


def read(head: bytes) -> Target:
    """Read a head, its END left off. Raises BadRequestError."""
    first, *headers = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequestError("the first line is no request of HTTP/1")
    for header in headers:
        if _HEADER.fullmatch(header) is None:
            raise BadRequestError("a line is no header")
    method, where = line[1], line[2].decode("ascii")
    if method == b"CONNECT":
        return Target(*_authority(where))
    try:
        parts = urlsplit(where)
    except ValueError as error:
        raise BadRequestError(str(error)) from error
    if parts.scheme != "http" or not parts.netloc:
        raise BadRequestError("a proxy is asked for CONNECT host:port, or for an http:// URL")
    host, port = _authority(parts.netloc if _has_port(parts.netloc) else f"{parts.netloc}:80")
    kept = [line for line in headers if line.partition(b":")[0].lower() not in _NOT_PASSED_ON]
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    if not path.startswith("/"):
        path = f"/{path}"
    lines = [
        b"%s %s HTTP/1.1" % (method, path.encode()),
        b"Host: %s" % parts.netloc.encode(),
        b"Connection: close",  # one connection, one request: the next may name another host
        *kept,
    ]
    return Target(host, port, b"\r\n".join(lines) + END)


def _has_port(netloc: str) -> bool:
    return netloc.rpartition(":")[2].isdigit()


def _authority(text: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise BadRequestError(f"{text!r} is not host:port")
    return plain(found[1]), int(found[2])


def answer(status: int, words: str) -> bytes:
    """A whole answer that ends the connection."""
    body = f"sandstream: {words}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
