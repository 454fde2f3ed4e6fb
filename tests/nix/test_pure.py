"""What set-up decides without Docker, Nix or network."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from nix import docker, mirror, pin
from nix.__main__ import wanted
from nix.channel import apt, recipe, resolve
from nix.images import names
from nix.images.digest import digest, entries

if TYPE_CHECKING:
    from pathlib import Path

URI = "http://mirror.example/debian/pool/main/g/gcc/gcc_4%3a14.2.0-1%7edeb13u1_amd64.deb"


def copy_of_inputs(target: Path) -> Path:
    for name in ("nix", "init", "streams", "builder"):
        if (names.REPOSITORY / name).is_dir():
            shutil.copytree(names.REPOSITORY / name, target / name)
    return target


def test_tags_do_not_depend_on_where_the_repository_lies(tmp_path):
    copy = copy_of_inputs(tmp_path)
    assert names.tags(copy) == names.tags(copy_of_inputs(tmp_path / "again"))


def test_an_edit_of_init_changes_runner_and_builder_and_not_base(tmp_path):
    copy = copy_of_inputs(tmp_path)
    before = names.tags(copy)
    (copy / "init").mkdir(exist_ok=True)
    (copy / "init" / "new.py").write_text("x = 1\n")
    after = names.tags(copy)
    assert (after.base, after.nats) == (before.base, before.nats)
    assert after.runner != before.runner
    assert after.builder != before.builder


def test_an_edit_of_a_language_or_of_the_channel_changes_no_image(tmp_path):
    copy = copy_of_inputs(tmp_path)
    before = names.tags(copy)
    (copy / "nix/languages/python/run.sh").write_text("true\n")
    (copy / "nix/channel/packages/jq.toml").write_text('debian = ["jq", "gojq"]\n')
    assert names.tags(copy) == before


def test_an_edit_of_nix_conf_changes_every_image_above_base(tmp_path):
    copy = copy_of_inputs(tmp_path)
    before = names.tags(copy)
    (copy / "nix/images/nix.conf").write_text("sandbox = true\n")
    after = names.tags(copy)
    assert after.base != before.base
    assert after.runner != before.runner
    assert after.builder != before.builder


def test_digest_ignores_bytecode_and_frames_its_parts(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    before = digest(entries(tmp_path, ["a"]))
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_text("2")
    assert digest(entries(tmp_path, ["a", "missing"])) == before
    folder = tmp_path / "a"
    assert [name for name, _ in entries(folder, ["__pycache__", "x.py"])] == ["x.py"]
    assert digest([], ["ab", "c"]) != digest([], ["a", "bc"])


def test_print_uris_becomes_names_fit_for_the_store():
    text = f"Reading lists...\n'{URI}' gcc_4%3a14.2.0-1~deb13u1_amd64.deb 5136 SHA256:{'a' * 64}\n"
    (deb,) = apt.parse_uris(text)
    assert deb.file == "gcc_14.2.0-1-deb13u1_amd64.deb"
    assert (deb.package, deb.size_bytes, deb.sha256) == ("gcc", 5136, "a" * 64)
    assert deb.uri == URI


def test_both_forms_of_apt_sources_are_read():
    one = (
        "# a comment\ndeb [signed-by=/x.gpg] http://m.example/debian/ trixie main\n"
        "deb-src http://s/ x\n"
    )
    assert mirror.parse_one_line(one) == [mirror.Source("http://m.example/debian", "trixie")]
    two = (
        "Types: deb\n# a comment\nURIs: http://m.example/debian\n"
        "Suites: bookworm bookworm-updates\n"
        "\nTypes: deb\nURIs: http://m.example/debian-security\nSuites: s\n"
        "\nTypes: deb-src\nURIs: http://n.example/debian\nSuites: s\n"
    )
    sources = mirror.parse_deb822(two)
    assert [s.suite for s in sources] == ["bookworm", "bookworm-updates", "s"]
    assert mirror.choose(sources[::-1]) == "http://m.example/debian"


def test_a_machine_without_debian_sources_is_told_so():
    with pytest.raises(mirror.NoMirrorError):
        mirror.choose([mirror.Source("http://m.example/ubuntu", "noble")])


def test_shared_and_excluded_packages_are_left_out_unless_asked_for_by_name():
    def deb(name: str) -> apt.Deb:
        return apt.Deb(f"{name}_1_all.deb", f"http://m.example/{name}", 1, name)

    closures = {
        ("libc6",): ["libc6", "dpkg"],
        ("gcc",): ["gcc", "libc6"],
        ("rustc",): ["rustc", "gcc", "libc6", "dpkg"],
        ("dpkg",): ["dpkg", "libc6"],
    }
    asked = recipe.Recipe(
        suite="s",
        exclude=frozenset({"dpkg"}),
        libraries=("libc6",),
        bootstrap=(),
        packages=(
            recipe.Package("gcc", ("gcc",)),
            recipe.Package("rustc", ("rustc",), shares=("gcc",)),
            recipe.Package("dpkg", ("dpkg",)),
        ),
    )
    found = resolve.closures(asked, lambda wanted: [deb(n) for n in closures[tuple(wanted)]])
    assert {name: [d.package for d in files] for name, files in found.items()} == {
        recipe.LIBRARIES: ["libc6"],
        "gcc": ["gcc"],
        "rustc": ["rustc"],
        "dpkg": ["dpkg"],
    }


def test_every_package_file_is_readable_and_names_only_packages_that_exist():
    asked = recipe.read()
    known = {package.name for package in asked.packages}
    aliases = [alias for package in asked.packages for alias in package.aliases]
    assert len(aliases) == len(set(aliases))
    assert not known.intersection(aliases)
    for package in asked.packages:
        assert known.issuperset((*package.needs, *package.shares)), package.name


def test_a_set_up_container_has_no_privilege_and_no_network():
    argv = docker.Container("image", 30000, ("/a:/nix",), {"X": "1"}).argv(["cmd", "arg"])
    assert argv == [
        "docker", "run", "--rm", "--interactive", "--network", "none", "--user", "30000:30000",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--tmpfs", "/tmp:exec,mode=1777", "--env", "HOME=/tmp/home",
        "--volume", "/a:/nix", "--env", "X=1", "--entrypoint", "cmd", "image", "arg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "reachable", "pinned", "expected"),
    [
        ("auto", True, True, "nixpkgs"),
        ("auto", True, False, "offline"),
        ("auto", False, True, "offline"),
        ("offline", True, True, "offline"),
        ("nixpkgs", False, True, "nixpkgs"),
    ],
)
def test_channel_is_nixpkgs_only_where_it_can_be_had(setting, reachable, pinned, expected):
    assert pin.choose_channel(setting, reachable, pinned=pinned) == expected


def test_nixpkgs_without_a_pin_is_refused():
    with pytest.raises(pin.NoPinError):
        pin.choose_channel("nixpkgs", reachable=True, pinned=False)


def test_a_cache_that_does_not_answer_is_not_reachable():
    assert not pin.reachable("http://127.0.0.1:1", timeout_seconds=0.2)


def test_a_cache_that_accepts_and_says_nothing_is_not_reachable_and_costs_only_the_time_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        assert not pin.reachable(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_seconds=0.3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "case",
    [
        (None, True, None, "nixpkgs"),
        (None, False, None, None),
        ("auto", True, "offline", None),
        ("", False, "nixpkgs", "nixpkgs"),
        ("offline", True, "nixpkgs", None),
        ("nixpkgs", False, "offline", "nixpkgs"),
    ],
)
def test_a_state_keeps_its_channel_until_the_setting_names_another(tmp_path, monkeypatch, case):
    setting, answers, has, expected = case
    monkeypatch.delenv(pin.VARIABLE, raising=False)
    asked: list[bool] = []
    monkeypatch.setattr(pin, "reachable", lambda: asked.append(answers) or answers)
    if setting is not None:
        monkeypatch.setenv(pin.VARIABLE, setting)
    if has is not None:
        for name, text in {"channel/default.nix": "", "channel-cache/inputs": has + " x"}.items():
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text(text)
    found = wanted(tmp_path)
    assert found == (pin.read() if expected else None)
    assert bool(asked) == (has is None)  # set-up asks no network where the answer is known


def test_an_unknown_channel_is_told_which_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv(pin.VARIABLE, "stable")
    with pytest.raises(pin.UnknownChannelError, match="auto, offline, nixpkgs"):
        wanted(tmp_path)


def test_the_pin_is_a_whole_revision_with_the_hash_of_its_tree():
    pinned = pin.read()
    assert pinned is not None
    assert re.fullmatch(r"[0-9a-f]{40}", pinned.revision)
    assert pinned.url.endswith(f"/{pinned.revision}.tar.gz")
    assert len(base64.b64decode(pinned.sha256.removeprefix("sha256-"))) == 32
    assert pinned.sha256 in pin.fetch_expression(pinned)


def test_no_file_names_a_registry_host():
    hosts = ("deb." + "debian.org", "pypi." + "org", "files.python" + "hosted.org")
    listed = subprocess.run(
        ["git", "ls-files", "nix", "tests/nix"], cwd=names.REPOSITORY,
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        path = names.REPOSITORY / name
        if path.is_file():
            assert not [host for host in hosts if host in path.read_text()], name
