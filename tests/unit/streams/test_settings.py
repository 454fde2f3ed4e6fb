"""A wrong setting ends its process with the variable's name and what is wrong with it."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from types import SimpleNamespace

import pytest

from egress.settings import NetworkSettings
from streams import setup
from streams.__main__ import main
from streams.connection import NatsSettings
from streams.settings import WRONG_SETTING, read
from streams.setup import LogSettings
from worker.settings import WorkerSettings

INTEGER = "Input should be a valid integer, unable to parse string as an integer"
FORM = "host, host:port or host:port:address, where a host may be *.domain"


@pytest.mark.parametrize(
    ("model", "variable", "given", "words"),
    [
        (WorkerSettings, "SANDSTREAM_WORKER_SLOTS", "x", f"{INTEGER} (it is 'x')"),
        (
            NetworkSettings,
            "SANDSTREAM_DEPENDENCIES_ALLOW",
            "https://bad.example",
            f"'https://bad.example' is not {FORM} (it is 'https://bad.example')",
        ),
        (WorkerSettings, "SANDSTREAM_RUNNER_IMAGE", None, "Field required"),
        (
            LogSettings,
            "SANDSTREAM_REPLICAS",
            "4",
            "1, 3 or 5: one more copy than an odd number bears no more losses (it is '4')",
        ),
    ],
)
def test_what_is_wrong_is_said_on_a_line(monkeypatch, model, variable, given, words):
    monkeypatch.setenv("SANDSTREAM_RUNNER_IMAGE", "i")
    if given is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, given)
    said = StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit) as ended:
        read(model)
    assert ended.value.code == WRONG_SETTING
    assert said.getvalue() == f"wrong setting {variable}: {words}\n"


def test_what_is_right_is_read(monkeypatch):
    monkeypatch.setenv("SANDSTREAM_NATS_URL", "nats://a:1")
    assert read(NatsSettings).nats_url == "nats://a:1"


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("setup", "KEEP_DAYS"),
        ("copy --to nats://127.0.0.1:1", "REPLICAS"),
        ("archive --folder .", "KEEP_DAYS"),
        ("archive --folder .", "JETSTREAM_TIMEOUT_SECONDS"),
        ("replay", "JETSTREAM_TIMEOUT_SECONDS"),
        ("tidy", "JETSTREAM_TIMEOUT_SECONDS"),
    ],
)
def test_a_command_of_the_log_says_it_too(monkeypatch, command, variable):
    monkeypatch.setenv("SANDSTREAM_KEEP_DAYS", "90")
    monkeypatch.setenv(f"SANDSTREAM_{variable}", "ninety")
    said = StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == WRONG_SETTING
    assert said.getvalue().startswith(f"wrong setting SANDSTREAM_{variable}: Input should be a ")
    assert said.getvalue().count("\n") == 1


def _disk(monkeypatch, *, total, free):
    usage = SimpleNamespace(total=total, free=free)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda _folder: usage)


def test_log_and_large_bodies_get_a_fifth_of_the_disk_each(monkeypatch, tmp_path):
    _disk(monkeypatch, total=1000_000, free=900_000)
    bounded = setup.LogSettings().bounded(tmp_path)
    assert (bounded.log_max_bytes, bounded.blobs_max_bytes) == (200_000, 200_000)
    asked = setup.LogSettings(log_max_bytes=-1, blobs_max_bytes=7).bounded(tmp_path)
    assert (asked.log_max_bytes, asked.blobs_max_bytes) == (-1, 7)
    # what nobody has said stays unsaid: set-up leaves the number of copies alone
    assert "replicas" not in bounded.model_fields_set


def test_on_a_disk_that_others_have_filled_they_get_less_and_what_is_theirs_counts(
    monkeypatch, tmp_path
):
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream/1.blk").write_bytes(bytes(20_000))
    own = sum(path.stat().st_size for path in tmp_path.rglob("*"))
    _disk(monkeypatch, total=1000_000, free=100_000)
    assert setup.share_of_disk(tmp_path) == int(0.4 * (100_000 + own))
    assert setup.share_of_disk(None) == 40_000


def test_a_password_is_read_from_a_file(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("of a file\n")
    file.chmod(0o600)
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD_FILE", str(file))
    assert read(NatsSettings).nats_password.get_secret_value() == "of a file"
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD_FILE", "")
    assert read(NatsSettings).nats_password is None


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        (0o644, "secret-1", "other users can read it: `chmod 600 {file}`"),
        (0o640, "secret-1", "other users can read it: `chmod 600 {file}`"),
        (0o600, " \n", "the file is empty"),
        (None, "", "can't be read: [Errno 2] No such file or directory: '{file}'"),
    ],
)
def test_a_password_file_that_can_not_be_used_is_said(monkeypatch, tmp_path, mode, text, words):
    file = tmp_path / "password"
    if mode is not None:
        file.write_text(text)
        file.chmod(mode)
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD_FILE", str(file))
    said = refused(NatsSettings)
    assert said.startswith(
        f"wrong setting SANDSTREAM_NATS_PASSWORD_FILE: {words.format(file=file)}"
    )
    assert "secret" not in said


def test_a_password_and_a_file_with_one_are_two(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("secret-1")
    file.chmod(0o600)
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD_FILE", str(file))
    monkeypatch.setenv("SANDSTREAM_NATS_PASSWORD", "secret-2")
    said = refused(NatsSettings)
    assert said == (
        "wrong setting SANDSTREAM_NATS_PASSWORD:"
        " SANDSTREAM_NATS_PASSWORD_FILE is set too: unset one of them\n"
    )


def refused(model) -> str:
    """What a process says that ends for it."""
    said = StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit) as ended:
        read(model)
    assert ended.value.code == WRONG_SETTING
    return said.getvalue()
