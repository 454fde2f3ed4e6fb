"""Settings, command lines and words of what is shared between hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from builder import nixstore, publish
from builder.errors import StoreFailed
from builder.publish import Publisher, destination
from builder.settings import SharingSettings
from builder.shared import Shared
from builder.storekeeper import Asked, BadRequestError, asked
from egress.settings import NetworkSettings
from init import nix, nix_jails

PATH = "/nix/store/3xcq55254ihkhwlfsjy72hx948abkfn9-gnutar-1.35"
OTHER = "/nix/store/0c0dy9w1z1yva6nq3jc2ph4l1a9q5n3j-hello-2.12"
SECRET = Path("/k/secret")


def test_the_plain_names_are_read_and_ours_go_before(monkeypatch):
    monkeypatch.setenv("SUBSTITUTERS", "http://a")
    monkeypatch.setenv("TRUSTED_PUBLIC_KEYS", "a:b")
    assert NetworkSettings().substituters == "http://a"
    assert NetworkSettings().trusted_public_keys == "a:b"
    monkeypatch.setenv("SANDSTREAM_SUBSTITUTERS", "http://b")
    assert NetworkSettings().substituters == "http://b"


def test_a_fetch_takes_signed_paths_and_builds_nothing():
    lines = nix.fetch_config("http://a, http://b\n http://c", "k:1 l:2").splitlines()
    assert "substituters = http://a http://b http://c" in lines
    assert "trusted-public-keys = k:1 l:2" in lines
    assert {"require-sigs = true", "max-jobs = 0", "builders =", "fallback = false"} <= set(lines)


def test_a_daemons_jail_has_no_network():
    jail = nix_jails.daemon_jail(uid=1, store="/nix", folder="/f", scratch="/s")
    assert not jail.network


@pytest.mark.parametrize(
    ("to", "copied_to"),
    [
        ("file:///cache", "file:///cache?compression=zstd&secret-key=/k/secret"),
        ("s3://b?region=x", "s3://b?region=x&compression=zstd&secret-key=/k/secret"),
        ("s3://b?compression=xz", "s3://b?compression=xz&secret-key=/k/secret"),
        ("ssh-ng://host", "ssh-ng://host"),
    ],
)
def test_where_environments_are_copied_to(to, copied_to):
    assert destination(to, SECRET) == copied_to


def test_the_stores_own_command_lines():
    assert nixstore.sign_argv(PATH, SECRET) == [
        "nix", "--offline", "store", "sign", "--recursive", "--key-file", "/k/secret", PATH,
    ]  # fmt: skip
    assert nixstore.publish_argv(PATH, "file:///c") == [
        "nice", "-n", "10", "nix", "copy", "--to", "file:///c", PATH,
    ]  # fmt: skip
    assert nixstore.realise_argv([PATH]) == ["nix-store", "--realise", "--keep-going", PATH]
    assert nixstore.collect_argv() == ["nix-store", "--gc", "--quiet"]
    assert nixstore.key_argv("n-1", SECRET, Path("/k/public")) == [
        "nix-store", "--generate-binary-cache-key", "n-1", "/k/secret", "/k/public",
    ]  # fmt: skip


def test_a_request_of_paths():
    assert asked(b'{"paths": ["%s"], "wait_seconds": 2}' % PATH.encode()) == Asked((PATH,), 2.0)
    assert asked(b'{"paths": []}') == Asked((), 0.0)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"x", b"[]", b"{}", b'{"paths": "x"}', b'{"paths": [1]}', b'{"paths": ["--option"]}',
        b'{"paths": ["/nix/store/../etc"]}', b'{"paths": [], "wait_seconds": "x"}',
    ],
)  # fmt: skip
def test_what_is_no_request(line):
    with pytest.raises(BadRequestError):
        asked(line)


def test_the_administrators_page_names_every_setting():
    page = (Path(__file__).parents[3] / "docs/environments.md").read_text()
    fields = [*SharingSettings.model_fields, *NetworkSettings.model_fields]
    names = {f"SANDSTREAM_{name.upper()}" for name in fields}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_what_a_cache_of_files_lacks_is_seen_there(tmp_path):
    publisher = Publisher("n", tmp_path, f"file://{tmp_path}?compression=zstd", Shared(tmp_path))
    assert publisher.lacks(PATH)
    (tmp_path / f"{PATH[11:43]}.narinfo").touch()
    assert not publisher.lacks(PATH)


def test_without_a_cache_nothing_is_lacked(tmp_path):
    assert not Publisher("n", tmp_path, "", Shared(tmp_path)).lacks(PATH)


async def publishing(publisher, until):
    """Serve until what is expected has come."""
    serving = asyncio.create_task(publisher.serve())
    try:
        async with asyncio.timeout(60):
            while not until():
                await asyncio.sleep(0.01)
    finally:
        serving.cancel()


@pytest.fixture
def copied(monkeypatch):
    """The paths that were copied; a copy of a path in `refused` fails."""

    class Copied(list):
        refused = ()

    made = Copied()

    async def run(argv, **_):
        if "copy" in argv:
            made.append(argv[-1])
            if argv[-1] in made.refused:
                raise StoreFailed(argv, 1, "the cache is away")

    monkeypatch.setattr(nixstore, "run", run)
    monkeypatch.setattr(publish, "_AGAIN_SECONDS", (0.0,))
    return made


@pytest.mark.parametrize("to", ["s3://b", "https://c", "ssh-ng://h"])
async def test_what_another_cache_has_is_noted_and_the_rest_comes_again_at_the_next_start(
    tmp_path, copied, to
):
    shared = Shared(tmp_path)
    shared.make()
    first = Publisher("n", tmp_path, to, shared)
    copied.refused = (OTHER,)
    first.soon(OTHER)
    first.soon(PATH)
    await publishing(first, lambda: not first.lacks(PATH))
    assert copied == [OTHER, OTHER, PATH]
    assert first.lacks(OTHER)

    copied.clear()
    copied.refused = ()
    second = Publisher("another", tmp_path, to, shared)
    second.resume([PATH, OTHER])
    await publishing(second, lambda: not second.lacks(OTHER))
    assert copied == [OTHER]
    assert Publisher("n", tmp_path, f"{to}2", shared).lacks(PATH)


async def test_a_full_disk_stops_no_builder_that_publishes(tmp_path, copied, monkeypatch):
    shared = Shared(tmp_path)
    shared.make()
    publisher = Publisher("n", tmp_path, "s3://b", shared)
    failures = [OSError(28, "No space left on device")] * 2
    note = publisher._note

    def full(path):
        if copied and failures:
            raise failures.pop()
        return note(path)

    publisher.soon(OTHER)
    publisher.soon(PATH)
    monkeypatch.setattr(publisher, "_note", full)
    await publishing(publisher, lambda: len(copied) > 2 and not publisher.lacks(PATH))
    assert copied == [OTHER, OTHER, PATH]


async def test_what_was_built_anew_is_published_anew(tmp_path, copied):
    shared = Shared(tmp_path)
    shared.make()
    publisher = Publisher("n", tmp_path, "s3://b", shared)
    publisher.soon(PATH)
    await publishing(publisher, lambda: not publisher.lacks(PATH))
    publisher.soon(PATH)
    assert publisher.lacks(PATH)


async def test_the_note_of_what_was_collected_goes_at_the_next_start(tmp_path, copied):
    shared = Shared(tmp_path)
    shared.make()
    publisher = Publisher("n", tmp_path, "s3://b", shared)
    publisher.soon(PATH)
    await publishing(publisher, lambda: not publisher.lacks(PATH))
    Publisher("n", tmp_path, "s3://b", shared).resume([OTHER])
    assert publisher.lacks(PATH)


async def test_a_key_is_shown_whole_or_not_at_all(tmp_path):
    publisher = Publisher("n", tmp_path, f"file://{tmp_path}/cache", Shared(tmp_path))
    publisher.secret.write_text("secret")
    publisher.public.write_text("n-2:public")
    shown = tmp_path / "cache/keys/n-2.pub"
    shown.parent.mkdir(parents=True)
    shown.write_text("n-2:before")
    with shown.open() as reader:
        await publisher.prepare()
        assert reader.read() == "n-2:before"  # nothing was cut from under who reads it just now
    assert shown.read_text() == "n-2:public"
    assert [file.name for file in shown.parent.iterdir()] == ["n-2.pub"]


async def test_the_key_of_an_older_version_is_dropped_and_shown_no_more(tmp_path, monkeypatch):
    async def made(argv):
        name, secret, public = argv[2:]
        Path(secret).write_text("secret")
        Path(public).write_text(f"{name}:public")

    monkeypatch.setattr(nixstore, "run", made)
    shown = tmp_path / "cache/keys/n.pub"
    shown.parent.mkdir(parents=True)
    older = [shown, *(tmp_path / f"cache-key.{suffix}" for suffix in ("secret", "public", "new"))]
    for file in older:
        file.write_text("n-1:older")
    publisher = Publisher("n", tmp_path, f"file://{tmp_path}/cache", Shared(tmp_path))
    assert await publisher.prepare() == "n-2:public"
    assert [file for file in older if file.exists()] == []
    assert (shown.parent / "n-2.pub").read_text() == "n-2:public"


async def test_a_key_that_is_there_stays(tmp_path):
    publisher = Publisher("n", tmp_path, f"file://{tmp_path}/cache", Shared(tmp_path))
    publisher.secret.write_text("secret")
    publisher.public.write_text("n-2:public")
    assert await publisher.prepare() == "n-2:public"
    assert publisher.secret.read_text() == "secret"
    assert (tmp_path / "cache/keys/n-2.pub").read_text() == "n-2:public"
