"""What each process is told, and what set-up would do."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from deploy import debian, engine, say, venv
from deploy.say import SetupFailedError, run, tail
from nix import docker, pin
from nix.images import ImageTags
from sandstream.serve import curl
from sandstream.services import NotSetUpError, SetUp, caches, environment, own_to, set_up
from sandstream.state import State

MADE = SetUp(ImageTags("base:1", "runner:1", "builder:1", "nats:1"), "revision")
NATS = {"SANDSTREAM_NATS_USER": "api", "SANDSTREAM_NATS_PASSWORD_FILE": "/own"}


def test_a_service_gets_settings_but_nothing_else_of_our_environment(tmp_path):
    ours = {
        "PATH": "/bin",
        "AWS_SECRET": "x",
        "SANDSTREAM_ATTEMPTS": "5",
        "SANDSTREAM_NATS_PASSWORD": "of someone else",
        "SANDSTREAM_NATS_PASSWORD_FILE": "/of/someone/else",
        "SANDSTREAM_STATE": "/elsewhere",
    }
    told = environment(State(tmp_path), MADE, 8000, NATS, ours)
    assert "AWS_SECRET" not in told
    assert told["SANDSTREAM_ATTEMPTS"] == "5"
    assert told["SANDSTREAM_NATS_PASSWORD_FILE"] == "/own"
    assert "SANDSTREAM_NATS_PASSWORD" not in told
    assert told["SANDSTREAM_STATE"] == str(tmp_path)
    assert told["SANDSTREAM_RUNNER_IMAGE"] == "runner:1"


def test_a_setting_of_the_person_goes_before_our_own_choice(tmp_path):
    ours = {"SANDSTREAM_WORKER_NAME": "mine"}
    told = environment(State(tmp_path), MADE, 8000, NATS, ours)
    assert told["SANDSTREAM_WORKER_NAME"] == "mine"


def test_two_states_on_one_host_have_workers_and_uids_of_their_own(tmp_path):
    one, other = own_to(State(tmp_path / "a")), own_to(State(tmp_path / "b"))
    assert one == own_to(State(tmp_path / "a"))
    assert not set(one.values()) & set(other.values())
    assert int(one["SANDSTREAM_UID_FIRST"]) + 65_536 < 2**31


def test_a_state_that_was_not_set_up_says_what_to_run(tmp_path):
    with pytest.raises(NotSetUpError, match="make setup"):
        set_up(State(tmp_path))


@pytest.mark.parametrize("version", [None, "1\n", "2\n"])
def test_a_store_of_an_older_version_is_not_started_with(tmp_path, monkeypatch, version):
    monkeypatch.setattr(docker, "exists", lambda *_: True)
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel/default.nix").touch()
    (tmp_path / "nix/store").mkdir(parents=True)
    trusted = tmp_path / "nix/var/sandstream/trusted"
    trusted.mkdir(parents=True)
    if version is not None:
        (trusted / "version").write_text(version)
    if version == "2\n":
        assert set_up(State(tmp_path)).channel_revision
        return
    with pytest.raises(NotSetUpError, match=r"older version.*run `make setup`"):
        set_up(State(tmp_path))


def test_the_curl_of_the_banner_is_one_submission():
    words = shlex.split(curl("http://127.0.0.1:8000", None))
    body = json.loads(words[words.index("-d") + 1])
    assert [file["name"] for file in body["files"]] == ["shell.nix", "run.sh"]
    assert "Authorization" not in " ".join(words)


def test_the_curl_of_the_banner_takes_the_key_out_of_its_file(tmp_path):
    """By a shell, as where it is pasted; the key itself stands in no terminal."""
    file = tmp_path / "the keys"
    file.write_text("# a b\n\n  grader   A-Z._~+/=  \nother x\n".replace("=  ", "="))
    command = curl("http://127.0.0.1:8000", file).replace("curl ", "printf '%s\\n' ", 1)
    said = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
    assert "Authorization: Bearer A-Z._~+/=" in said.splitlines()
    assert "A-Z" not in curl("http://127.0.0.1:8000", file)


def test_a_service_finds_the_keys_from_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = environment(State(tmp_path), MADE, 8000, NATS, {"SANDSTREAM_KEYS_FILE": "keys"})
    assert told["SANDSTREAM_KEYS_FILE"] == str(tmp_path / "keys")


def test_nothing_is_missing_on_a_machine_that_runs_this():
    assert [need.package for need in debian.needs() if not need.here()] == []


def test_apt_asks_nothing_and_brings_no_recommended_packages():
    assert debian.install_argv(["a"]) == [
        "apt-get",
        "--option", "Dpkg::Use-Pty=0",
        "--option", "Acquire::Retries=3",
        "--option", "DPkg::Lock::Timeout=120",
        "--no-install-recommends",
        "--yes",
        "install",
        "a",
    ]  # fmt: skip


def test_a_step_that_never_ends_is_a_failure_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(say, "COMMAND_SECONDS", 0.2)
    with pytest.raises(SetupFailedError, match="`sleep 60` had not ended after") as raised:
        say.run(["sleep", "60"], log=tmp_path / "log", remedy="look at it")
    assert "remedy: look at it" in str(raised.value)


def test_an_engine_that_stands_still_is_one_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(say, "_ANSWER_SECONDS", 0.2)
    assert not say.succeeds(["sleep", "60"])
    assert say.succeeds(["true"])


def test_without_root_it_says_what_is_missing(monkeypatch, tmp_path):
    need = debian.Need("nothing-like-it", "a test", lambda: False)
    monkeypatch.setattr(debian, "needs", lambda: [need])
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(SetupFailedError, match="missing: nothing-like-it") as raised:
        debian.install_missing(tmp_path)
    assert "remedy: run as root" in str(raised.value)


def test_pip_installs_only_what_the_lock_names_by_hash():
    assert "--require-hashes" in venv.install_argv()
    assert "--no-deps" in venv.install_argv()


def test_the_lock_names_no_address():
    lock = venv.LOCK.read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > 100


def test_another_lock_makes_another_environment(monkeypatch, tmp_path):
    before = venv.stamp()
    (tmp_path / "lock").write_text("other")
    monkeypatch.setattr(venv, "LOCK", tmp_path / "lock")
    assert venv.stamp() != before


def test_a_failed_command_is_told_with_its_log_and_remedy(tmp_path):
    log = tmp_path / "logs" / "x.log"
    with pytest.raises(SetupFailedError) as raised:
        run(["sh", "-c", "echo so it was; exit 3"], log=log, remedy="try again")
    words = str(raised.value)
    assert "ended with status 3" in words
    assert f"log:    {log}" in words
    assert "| so it was" in words
    assert "remedy: try again" in words
    assert tail(tmp_path / "none") == []


def test_an_engine_that_answers_is_not_started_again(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(engine, "launch", lambda *_: pytest.fail("started"))
    engine.start(tmp_path)


def test_an_engine_that_can_have_no_bridge_is_started_without(monkeypatch, tmp_path):
    started = []

    class Process:
        returncode = 1

        def poll(self):
            return None if "--bridge=none" in started[-1] else 1

    def launch(log, *options):
        started.append(options)
        return Process()

    monkeypatch.setattr(engine, "answers", lambda: bool(started) and "--bridge=none" in started[-1])
    monkeypatch.setattr(engine, "launch", launch)
    monkeypatch.setattr(engine, "_SYSTEMD", tmp_path / "none")
    engine.start(tmp_path)
    assert started == [(), ("--iptables=false", "--ip6tables=false", "--bridge=none")]


def test_real_nixpkgs_comes_from_its_own_cache_unless_others_are_named():
    assert caches("8e0f92ace5b43b9d", {}) == {}
    assert caches("nixpkgs-8fd9daa3", {})["SUBSTITUTERS"] == pin.PUBLIC_CACHE
    ours = {"SUBSTITUTERS": "http://cache.example", "HOME": "/root"}
    assert caches("nixpkgs-8fd9daa3", ours) == {"SUBSTITUTERS": "http://cache.example"}
