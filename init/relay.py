"""The way from a jail's own, empty network to the socket of its proxy (`egress/`)."""

from __future__ import annotations

from typing import Final

from init.jail import Bind

#: Where a jail without a network has the way to its proxy; nothing else is on that network.
_PORT: Final = 3128
_URL: Final = f"http://127.0.0.1:{_PORT}"
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
#: Where a jail has the socket of its proxy.
_SOCKET: Final = "/run/proxy"


def mounts(socket: str) -> tuple[Bind, ...]:
    """What a jail sees for it: the proxy's socket, and what TLS trusts."""
    return (Bind(socket, _SOCKET, writable=True), Bind("/etc/ssl", "/etc/ssl"))


def before(script: str) -> str:
    """`script`, once a relay listens in the jail's own network that leads to the proxy's socket.

    Of all builds only fixed-output derivations share that network: Nix gives the others one of
    their own. A fetcher takes the proxy from the environment, as nixpkgs' do.
    """
    listening = f"grep -q ': 0100007F:{_PORT:04X} .* 0A ' /proc/net/tcp"
    return "\n".join(
        (
            f"socat TCP-LISTEN:{_PORT},bind=127.0.0.1,reuseaddr,fork UNIX-CONNECT:{_SOCKET} &",
            "relay=$!",
            f"until {listening}; do kill -0 $relay || exit; sleep 0.01; done",
            script,
        )
    )


def environment() -> tuple[tuple[str, str], ...]:
    """Where a fetcher finds the relay, and what it takes for a certificate."""
    return (
        ("http_proxy", _URL),
        ("https_proxy", _URL),
        ("NIX_SSL_CERT_FILE", _CERTIFICATES),
    )
