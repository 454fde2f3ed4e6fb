"""Passwords go from hand to hand as files, never as environments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandstream import access, credentials
from sandstream.builders import trusted
from sandstream.plans import BUILDER_UID, BuilderStack, builder_config
from sandstream.state import State
from streams import files

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another uid")
SECRETS = {name: f"of-{name}" for name in credentials.NAMES}


def rights(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_uid, found.st_mode & 0o7777


@ROOT
def test_each_users_password_is_a_file_that_its_reader_owns(tmp_path):
    state = State(tmp_path / "state")
    credentials.write(state, SECRETS, {"api": 31_001})
    for name in credentials.NAMES:
        file = state.passwords / name
        assert file.read_text() == f"of-{name}"
        assert rights(file) == (31_001 if name == "api" else 0, 0o600)


@ROOT
def test_a_file_that_others_were_let_read_is_made_anew(tmp_path):
    state = State(tmp_path)
    credentials.write(state, SECRETS, {"api": 31_001})
    file = state.passwords / "api"
    before = file.stat().st_ino
    credentials.write(state, SECRETS, {"api": 31_001})
    assert file.stat().st_ino == before
    file.chmod(0o644)
    credentials.write(state, SECRETS, {"api": 31_001})
    assert rights(file) == (31_001, 0o600)
    assert file.stat().st_ino != before


@pytest.mark.parametrize("how", ["plain", "file"])
def test_a_password_of_our_environment_is_handed_over_as_a_file(tmp_path, how):
    ours = {"SANDSTREAM_NATS_USER": "worker", credentials.PASSWORD: "p"}
    if how == "file":
        files.replace(tmp_path / "given", b"p\n", mode=0o600)
        ours[credentials.PASSWORD_FILE] = str(tmp_path / "given")
        del ours[credentials.PASSWORD]
    file = tmp_path / "own" / "password"
    told = credentials.handed(ours, file, os.geteuid(), "/inside/password")
    assert told == {
        "SANDSTREAM_NATS_USER": "worker",
        credentials.PASSWORD_FILE: "/inside/password",
    }
    assert file.read_text() == "p"
    assert rights(file) == (os.geteuid(), 0o600)


def test_a_log_without_passwords_needs_no_file(tmp_path):
    assert credentials.handed({"A": "1"}, tmp_path / "password", 0) == {"A": "1"}
    assert list(tmp_path.iterdir()) == []


@ROOT
@pytest.mark.parametrize("variable", [credentials.PASSWORD, credentials.PASSWORD_FILE])
def test_a_builders_container_is_told_a_file_and_no_password(tmp_path, variable):
    files.replace(tmp_path / "given", b"p4ssw0rd", mode=0o600)
    given = {credentials.PASSWORD: "p4ssw0rd", credentials.PASSWORD_FILE: str(tmp_path / "given")}
    stack = trusted(
        BuilderStack("i", tmp_path, "b:1", "r:1", "{}", environment={"A": "1"}),
        {variable: given[variable]},
    )
    config = builder_config(stack)
    assert config["Env"] == [
        "A=1",
        "SANDSTREAM_NATS_PASSWORD_FILE=/var/lib/sandstream/nats-password",
    ]
    assert f"{stack.own}:/var/lib/sandstream" in config["HostConfig"]["Binds"]
    assert "p4ssw0rd" not in str(config)
    assert rights(stack.own / "nats-password") == (BUILDER_UID, 0o600)


def test_env_names_the_file_and_forgets_a_password_of_before(tmp_path):
    state = State(tmp_path / "state")
    with state.held():
        state.announce("http://127.0.0.1:1", "nats://127.0.0.1:2")
        assert access.lines(State(tmp_path / "state"), "auditor").splitlines() == [
            "export SANDSTREAM_NATS_URL=nats://127.0.0.1:2",
            "export SANDSTREAM_NATS_USER=auditor",
            f"export SANDSTREAM_NATS_PASSWORD_FILE={state.passwords}/auditor",
            "unset SANDSTREAM_NATS_PASSWORD",
        ]
    assert (state.passwords / "auditor").read_text() in state.secrets.read_text()


@ROOT
def test_what_is_lent_is_a_copy_with_the_rights_of_the_original(tmp_path):
    original = tmp_path / "keys"
    for mode in (0o600, 0o644):
        original.write_text(f"caller {mode}")
        original.chmod(mode)
        credentials.lend(original, tmp_path / "lent" / "keys", 31_001)
        assert (tmp_path / "lent" / "keys").read_text() == f"caller {mode}"
        assert rights(tmp_path / "lent" / "keys") == (31_001, mode)
