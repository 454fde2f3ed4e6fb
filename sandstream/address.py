"""Where the API listens, and the address at which a client of this host reaches it."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress


def free_port(host: str) -> int:
    """A port of that address that nobody listens on now. Raises OSError: it is not this host's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port: int = listener.getsockname()[1]
        return port


def url(host: str, port: int) -> str:
    """`http://HOST:PORT`; who listens on every address is reached at the loopback's."""
    with suppress(ValueError):  # a name is as good
        if (address := ipaddress.ip_address(host)).is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
