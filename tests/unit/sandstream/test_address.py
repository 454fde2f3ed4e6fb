"""Where the API is reached, whatever it listens on."""

from __future__ import annotations

import socket

import pytest

from sandstream.address import free_port, url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("10.0.0.1", "http://10.0.0.1:80"),
        ("judge.example", "http://judge.example:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
    ],
)
def test_what_listens_everywhere_is_reached_at_the_loopback(host, expected):
    assert url(host, 80) == expected


def test_a_free_port_is_one_of_that_address():
    port = free_port("127.0.0.2")
    with socket.create_server(("127.0.0.2", port)):
        pass


def test_an_address_of_another_host_has_no_port_here():
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")
