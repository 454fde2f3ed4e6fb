"""A proxy's requests, read as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.requests import BadRequestError, Target, answer, read


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        (b"CONNECT cache.example:443 HTTP/1.1", "cache.example", 443),
        (b"CONNECT Cache.Example.:443 HTTP/1.0", "cache.example", 443),
        (b"CONNECT [fd00::1]:80 HTTP/1.1", "fd00::1", 80),
    ],
)
def test_a_tunnel_names_its_host_and_its_client_speaks_itself(line, host, port):
    assert read(line) == Target(host, port)


def test_a_url_becomes_a_request_of_its_own_for_that_host_alone():
    head = b"\r\n".join(
        (
            b"GET http://cache.example/nar/x?y=1 HTTP/1.1",
            b"Host: other.example",
            b"Proxy-Connection: keep-alive",
            b"Connection: keep-alive",
            b"Proxy-Authorization: Basic eA==",
            b"Accept: */*",
        )
    )
    assert read(head) == Target(
        "cache.example",
        80,
        b"GET /nar/x?y=1 HTTP/1.1\r\nHost: cache.example\r\nConnection: close\r\n"
        b"Accept: */*\r\n\r\n",
    )


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        (b"http://a.example", "a.example", 80, b"/"),
        (b"http://a.example?x", "a.example", 80, b"/?x"),
        (b"http://a.example:8080/x#y", "a.example", 8080, b"/x"),
        (b"http://[fd00::1]/x", "fd00::1", 80, b"/x"),
        (b"http://[fd00::1]:8080/x", "fd00::1", 8080, b"/x"),
        (b"http://a.example//b/../c", "a.example", 80, b"//b/../c"),
    ],
)
def test_urls(url, host, port, path):
    target = read(b"GET %s HTTP/1.1" % url)
    assert (target.host, target.port) == (host, port)
    assert target.head.split(b" ")[1] == path


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1",
        b"GET https://a.example/ HTTP/1.1",
        b"GET ftp://a.example/ HTTP/1.1",
        b"GET http:///x HTTP/1.1",
        b"GET http://user@a.example/ HTTP/1.1",
        b"GET http://a.example:0x50/ HTTP/1.1",
        b"get http://a.example/ HTTP/1.1",
        b"GET http://a.example/ HTTP/2",
        b"GET http://a.example/ x HTTP/1.1",
        b"CONNECT a.example HTTP/1.1",
        b"CONNECT user@a.example:443 HTTP/1.1",
        b"CONNECT http://a.example:443 HTTP/1.1",
        b"CONNECT a.example:443/x HTTP/1.1",
        b"CONNECT a.example:443 HTTP/1.1\r\n folded: x",
        b"CONNECT a.example:443 HTTP/1.1\r\nno header",
        b"GET http://a.example/ HTTP/1.1\r\nA: b\nHost: c",
        b"GET http://[fd00::1/ HTTP/1.1",
        b"GET http://a.example/\xff HTTP/1.1",
    ],
)
def test_what_is_no_request_to_a_proxy(head):
    with pytest.raises(BadRequestError):
        read(head)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(head):
    try:
        found = read(b"GET http://" + head)
    except BadRequestError:
        return
    assert b"\r\nHost: " in found.head
    assert found.head.endswith(b"\r\n\r\n")
    assert found.head.count(b"\r\n\r\n") == 1


def test_an_answer_of_ours_is_whole():
    head, _, body = answer(403, "no").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
