"""The file of keys: what may stand in it, and what is said of what may not."""

from __future__ import annotations

import pytest

from api.keys import KeysError, load
from api.rules import host_of, is_loopback, origin

KEY = "A-Za-z0-9._~+/abc="
OTHER = "0123456789abcdef"


def file(folder, text, mode=0o600):
    made = folder / "keys"
    made.write_text(text)
    made.chmod(mode)
    return made


def test_callers_are_told_by_their_keys(tmp_path):
    text = f"# all\n\n  grader   {KEY}\nnotebook {OTHER}\n#x y\ngrader {'z' * 16}\n"
    keys = load(file(tmp_path, text))
    assert keys.caller(f"Bearer {KEY}") == "grader"
    assert keys.caller(f"bearer  {OTHER} ") == "notebook"
    assert keys.caller(f"Bearer {'z' * 16}") == "grader"
    for other in (None, "", KEY, f"Basic {KEY}", f"Bearer {KEY[:-1]}", "Bearer", "Bearer x y"):
        assert keys.caller(other) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no key"),
        ("# a b\n", "holds no key"),
        (f"{KEY}\n", "line 1: must be `name key`"),
        (f"a {OTHER} b\n", "line 1: must be `name key`"),
        (f"\nä {OTHER}\n", "not plain ASCII"),
        (f"a/b {OTHER}\n", "line 1: a name has"),
        (f"{'n' * 65} {OTHER}\n", "line 1: a name has"),
        ("a 0123456789abcde\n", "line 1: a key has"),
        (f"a {'k' * 513}\n", "line 1: a key has"),
        (f"a {OTHER}\nb {OTHER}\n", "line 2: b has the key of another name"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(tmp_path, text, words):
    with pytest.raises(KeysError) as raised:
        load(file(tmp_path, text))
    assert words in str(raised.value)
    assert OTHER not in str(raised.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601])
def test_others_may_not_read_it(tmp_path, mode):
    with pytest.raises(KeysError, match="chmod 600"):
        load(file(tmp_path, f"a {KEY}\n", mode))


def test_a_file_that_is_not_there_or_is_none(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(KeysError, match="can't be read"):
            load(path)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
        ("LocalHost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
        ("judge", False), ("localhost.judge.example", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(address, here):
    assert is_loopback(address) is here


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("judge:80", "judge"), ("Judge.", "judge"), ("[::1]:80", "::1"), ("[::1]", "::1"),
        ("evil@judge", ""), ("judge/x", ""), ("judge?x", ""), ("", ""), ("[::1", ""),
    ],
)  # fmt: skip
def test_host_of_a_header(header, host):
    assert host_of(header) == host


def test_origins_are_written_as_browsers_write_them():
    assert origin("https://judge.example:8443") == "https://judge.example:8443"
    for wrong in ("judge.example", "https://judge.example/", "https://a/b", "*", "null", "ftp://a"):
        with pytest.raises(ValueError, match="no origin"):
            origin(wrong)
