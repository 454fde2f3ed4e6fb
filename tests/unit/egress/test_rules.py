"""What an administrator's list lets through, and what no list does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from egress import rules
from egress.settings import NetworkSettings

LIST = """
cache.example.org, *.mirror.example:8080
10.1.2.3:8080 [fd00::1]:80 inner.lan:443:10.9.9.9
"""


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [
        ("cache.example.org", 443, True),
        ("cache.example.org", 80, True),
        ("cache.example.org", 8080, False),
        ("cache.example.org.evil.example", 443, False),
        ("evilcache.example.org", 443, False),
        ("a.mirror.example", 8080, True),
        ("a.b.mirror.example", 8080, True),
        ("mirror.example", 8080, False),
        ("amirror.example", 8080, False),
        ("10.1.2.3", 8080, True),
        ("10.1.2.4", 8080, False),
        ("fd00::1", 80, True),
        ("inner.lan", 443, True),
        ("10.9.9.9", 443, False),
        ("localhost", 80, False),
    ],
)
def test_a_list_names_hosts_and_ports_and_no_others(host, port, named):
    assert (rules.rule_for(rules.parse(LIST), host, port) is not None) is named


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("https://cache.example.org", "is not host"),
        ("cache.example.org:", "is not host"),
        ("cache.example.org:http", "is not host"),
        ("cache.example.org:0", "no port 0"),
        ("cache.example.org:65536", "no port 65536"),
        ("*", "is not host"),
        ("a.*.example", "is not host"),
        ("x.lan:443:10.0.0", "is no address"),
        ("*.lan:443:10.0.0.1", "belongs to one name"),
        ("10.0.0.1:443:10.0.0.2", "belongs to one name"),
        ("user@host", "is not host"),
        ("a..example", "is not host"),
    ],
)
def test_an_entry_that_is_none_is_named_with_the_form_it_should_have(entry, words):
    with pytest.raises(ValueError, match=words) as raised:
        rules.parse(f"good.example {entry}")
    assert repr(entry) in str(raised.value)


def test_the_setting_says_which_entry_is_wrong(monkeypatch):
    monkeypatch.setenv("SANDSTREAM_DEPENDENCIES_ALLOW", "good.example https://bad.example")
    with pytest.raises(ValidationError, match=r"'https://bad\.example' is not host"):
        NetworkSettings()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.17.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::93.184.216.34", True),
        ("2002:0a00:0001::1", False),
        ("fe80::1%eth0", False),
        ("example.org", False),
    ],
)
def test_what_is_an_address_of_the_public_internet(address, public):
    assert rules.public(address) is public


def test_a_name_is_not_where_its_owner_says_unless_the_administrator_does():
    allowed = rules.parse(LIST)
    cache = rules.rule_for(allowed, "cache.example.org", 443)
    assert not rules.may_be_at(cache, "127.0.0.1")
    assert rules.may_be_at(cache, "93.184.216.34")
    inner = rules.rule_for(allowed, "inner.lan", 443)
    assert rules.known(inner, "inner.lan") == "10.9.9.9"
    assert rules.may_be_at(inner, "10.9.9.9")


def test_the_substituters_are_reached_wherever_they_are_and_nothing_beside_them():
    found = rules.of_urls("https://cache.nixos.org http://10.0.0.7:8080/x, s3://b file:///c")
    assert [(rule.host, sorted(rule.ports)) for rule in found] == [
        ("cache.nixos.org", [443]),
        ("10.0.0.7", [8080]),
    ]
    assert all(rule.private for rule in found)


@pytest.mark.parametrize(
    ("network", "container"),
    [
        ("none", []),
        ("substituters", ["cache.example", "a.example"]),
        ("open", ["cache.example", "*"]),
    ],
)
def test_the_setting_decides_what_a_container_reaches(network, container):
    told = NetworkSettings(
        SUBSTITUTERS="https://cache.example",
        dependencies_network=network,
        dependencies_allow="a.example",
    )
    assert [rule.host for rule in told.in_container] == container
    assert told.fetches is (network != "none")


@given(st.text(max_size=40), st.integers(0, 70000))
def test_nothing_is_let_through_by_an_empty_list_and_open_never_reaches_inside(host, port):
    assert rules.rule_for((), rules.plain(host), port) is None
    assert not rules.may_be_at(rules.ANYTHING, "127.0.0.1")
