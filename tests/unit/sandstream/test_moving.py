"""What a copy's last lines tell a person to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandstream.moving import next_steps
from sandstream.state import State
from streams.copying import Copied
from streams.reading import Extent

STATE = State(Path("/s"))
UP = "from now on: SANDSTREAM_CLUSTER=nats://n1:4222 make up"


def copied(in_use=None):
    return Copied(Extent(1, 9), new=9, blobs=0, digest="d", positions={}, in_use=in_use)


def test_a_whole_copy_is_run_on():
    assert next_steps(copied(), STATE, "nats://n1:4222", None) == [UP]


def test_a_copy_that_is_not_the_last_word_is_not_run_on():
    for secrets in (None, Path("/other.json")):
        assert next_steps(copied("a client wrote"), STATE, "nats://n1:4222", secrets) == []


def test_passwords_of_other_servers_become_the_folders_first():
    assert next_steps(copied(), STATE, "nats://n1:4222", Path("/other.json")) == [
        "first make its passwords this folder's: cp /other.json /s/secrets.json",
        UP,
    ]


@pytest.mark.parametrize("file", ["/s/secrets.json", "/s/nats/../secrets.json"])
def test_the_folders_own_passwords_are_its_own_already(file):
    assert next_steps(copied(), STATE, "nats://n1:4222", Path(file)) == [UP]
