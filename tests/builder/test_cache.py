"""Built on one host, run on another: the signed binary cache between two stores."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from sandstream.containers import ContainerDiedError
from streams.hoststore import InUse, Realised, realise
from tests.builder.boxes import building, pool_of
from tests.builder.conftest import PYTHON, running, stack_of
from tests.builder.hosts import UID, Host, held, keeper, published, requests, socket_of
from tests.builder.test_shells import derivation, shell, stderr
from tests.builder.test_trust import inside
from tests.sandbox import harness
from tests.worker.conftest import until

pytestmark = pytest.mark.integration
OTHER_KEY = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="


async def test_built_on_one_host_runs_on_the_other_and_is_downloaded_once(
    first, second, images, tmp_path
):
    built = await first.builder.build(shell())
    assert (built.how, built.dependencies.outcome) == ("built", "ok"), built.dependencies
    path = built.environment.path
    wanted = held(first.host, built.environment)
    async with keeper(first, second):
        # at once: the storekeeper asks again until the builder has published it
        answers = await asyncio.gather(
            *(realise(socket_of(second), [path], wait_seconds=20) for _ in range(10))
        )
        assert answers == [Realised(())] * 10
        assert second.valid() == wanted
        downloads = requests(first, "/nar/")
        assert len(downloads) == len(set(downloads)) == len(wanted)
        began = time.monotonic()
        assert await realise(socket_of(second), [path]) == Realised(())
        assert time.monotonic() - began < 5  # it waits up to 15 for what is not there
        assert requests(first, "/nar/") == downloads
    box = tmp_path / "box"
    box.mkdir()
    sandbox = harness.Sandbox(
        image=images["base"],
        store=second.store,
        code=harness.code(box, images["base"]),
        folder=box,
    )
    answer = sandbox.run(
        'python3 -c "print(6 * 7)"',
        closure=built.environment.closure,
        profile=built.environment.profile.inline(),
        environment=path,
    )
    assert answer.run.stdout == b"42\n", answer


async def test_what_another_key_has_signed_is_refused(first, second):
    path = (await first.builder.build(shell())).environment.path
    await published(first, path)
    async with keeper(first, second, key=OTHER_KEY) as running_:
        began = time.monotonic()
        answer = await realise(socket_of(second), [path], wait_seconds=30)
        assert time.monotonic() - began < 15  # no waiting mends it
        assert "not signed by any of the keys" in answer.why[path]
        assert "not signed by any of the keys" in await running_.log()
    assert second.valid() == set()


@pytest.mark.parametrize("damage", ["no signature", "wrong signature", "other content"])
async def test_a_damaged_cache_is_refused(first, second, damage):
    path = (await first.builder.build(shell())).environment.path
    info = await published(first, path)
    lines = info.read_text().splitlines()
    if damage == "no signature":
        lines = [line for line in lines if not line.startswith("Sig:")]
    elif damage == "wrong signature":
        lines = [line[:-6] + "AAAA==" if line.startswith("Sig:") else line for line in lines]
    else:
        nar = first.stack.cache / next(x for x in lines if x.startswith("URL: ")).split(" ")[1]
        other = next(
            file for file in (first.stack.cache / "nar").iterdir() if file.name != nar.name
        )
        nar.write_bytes(other.read_bytes())
    info.write_text("\n".join(lines) + "\n")
    async with keeper(first, second):
        assert (await realise(socket_of(second), [path])).missing == (path,)
    assert path not in second.valid()


async def test_a_cache_that_is_down_is_a_miss_within_seconds(first, second):
    path = (await first.builder.build(shell())).environment.path
    began = time.monotonic()
    async with keeper(first, second, url=first.url.rpartition(":")[0] + ":1"):
        assert (await realise(socket_of(second), [path])).missing == (path,)
    assert time.monotonic() - began < 15


async def test_the_storekeeper_takes_nothing_but_store_paths(first, second):
    async with keeper(first, second):
        for words in ("--option", "/etc/passwd", "/nix/store/../x", "http://x", ""):
            with pytest.raises(KeyError):
                await realise(socket_of(second), [words])


async def test_a_storekeeper_drops_what_an_older_version_left_and_fetches_it_anew(
    first, second, images
):
    """In an older store a build may have rewritten any path: here one has rewritten Python's."""
    second.fill(images["built"])
    python = next(path for path in images["built"] if "-python3-" in path)
    (second.folder / "nix/var/sandstream/trusted/version").unlink()
    program = second.store / Path(python).name / "bin/python3"
    program = program.parent / program.readlink() if program.is_symlink() else program
    program.chmod(0o755)
    program.write_text("#!/bin/sh\necho EVIL\n")
    record = second.folder / "nix/var/sandstream/environments/0.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}")
    os.chown(record.parent, UID, UID)
    built = await first.builder.build(PYTHON % "")
    async with keeper(first, second):
        assert second.valid() == set()
        assert [path.name for path in second.store.iterdir()] == [".links"]  # Nix's own
        assert not record.exists()
        answer = await realise(socket_of(second), [built.environment.path], wait_seconds=30)
        assert answer.missing == ()
        theirs = first.host.store / program.relative_to(second.store)
        assert program.read_bytes() == theirs.read_bytes()
        kept = second.valid()
    async with keeper(first, second):  # stamped now: the next start keeps it
        assert second.valid() == kept


async def test_a_storekeeper_does_not_drop_a_store_that_is_used(first, second):
    (second.folder / "nix/var/sandstream/trusted/version").unlink()
    used = InUse(second.folder / "nix")
    used.make()
    async with used.used():
        with pytest.raises(ContainerDiedError, match="has to be dropped, but workers use it"):
            async with keeper(first, second):
                pytest.fail("it took the store from under its users")


async def test_the_signing_key_is_its_owners_alone(first):
    """No build's container has it. The daemon's jail: tests/unit/builder/test_nix_argv.py."""
    builder = first.builder
    key = first.stack.own / "cache-key-2.secret"
    assert key.stat().st_mode & 0o777 == 0o400
    pool = pool_of(builder)
    id_ = await builder.submit(shell(derivation("sleep 1000")))
    name = await until(lambda: building(pool, "sleep"), 120)
    words = inside(name, "ls", "/var/lib/sandstream", "/cache", "/usr")
    assert words.count("No such file") == 2, words
    assert "bin" in words.splitlines(), words  # it looked
    await builder.cancel(id_)


async def test_a_builder_fetches_before_it_builds_and_its_builds_have_no_network(
    nats, images, first, second
):
    text = shell()
    built = await first.builder.build(text)
    await published(first, built.environment.path)
    await first.builder.pair.builder.kill()
    second.fill(())  # what set-up has recorded of the channel, and nothing that is built
    environment = {"SUBSTITUTERS": first.url, "TRUSTED_PUBLIC_KEYS": first.key}
    stack = stack_of(nats, images, state=second.folder, environment=environment)
    async with running(nats, stack) as builder:
        again = await builder.build(text)
        assert (again.how, again.dependencies.outcome) == ("built", "ok"), (
            again.dependencies,
            await builder.pair.builder.log(),
        )
        assert again.environment.path == built.environment.path
        assert not [path for path in second.valid() if path.endswith(".deb")]
        # a new shell out of the same things: what is missing is built, from what was fetched
        other = await builder.build(shell(derivation("echo here > $out")))
        assert other.dependencies.outcome == "ok", other.dependencies


async def test_a_builder_whose_cache_is_down_builds_itself(nats, images, tmp_path):
    host = Host(tmp_path / "alone", images["builder"]).fill(images["built"])
    environment = {"SUBSTITUTERS": "http://127.0.0.1:1", "TRUSTED_PUBLIC_KEYS": OTHER_KEY}
    stack = stack_of(nats, images, state=host.folder, environment=environment)
    async with running(nats, stack) as builder:
        state = await builder.build(shell(derivation("echo here > $out")))
    assert (state.how, state.dependencies.outcome) == ("built", "ok"), state.dependencies


@pytest.mark.parametrize(
    "way",
    [
        'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "%(zeros)s";',
        (
            'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "%(zeros)s"; '
            "preferLocalBuild = true;"
        ),
        "preferLocalBuild = true;",
        "fetched",
    ],
    ids=["fixed output", "fixed output, built here", "built here", "fetched by Nix"],
)
async def test_no_derivation_of_a_users_is_run_by_who_has_the_network(nats, images, tmp_path, way):
    """With caches there is a Nix of ours that has the network: it only takes whole outputs."""
    host = Host(tmp_path / "alone", images["builder"]).fill(images["built"])
    seen = []
    server = await asyncio.start_server(lambda _r, w: seen.append(w.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = {"zeros": "0" * 64}
    attempt = (
        f'x = pkgs.runCommand "x" {{ {way % names} }} "exec 3<>/dev/tcp/127.0.0.1/{port}";'
        if way != "fetched"
        else f'x = import <nix/fetchurl.nix> {{ url = "http://127.0.0.1:{port}/x"; '
        f'sha256 = "{"0" * 64}"; }};'
    )
    environment = {"SUBSTITUTERS": "http://127.0.0.1:1", "TRUSTED_PUBLIC_KEYS": OTHER_KEY}
    stack = stack_of(nats, images, state=host.folder, environment=environment)
    async with running(nats, stack) as builder:
        state = await builder.build(shell(attempt))
    server.close()
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert seen == []


@pytest.mark.parametrize("setting", ["none", "substituters", "open"])
async def test_no_setting_of_the_network_opens_the_hosts_own(nats, images, tmp_path, setting):
    """A fixed-output derivation asks a listener of the host for its content, and has no way to it.

    What a setting does open is a proxy's to say: tests/builder/test_egress.py.
    """
    host = Host(tmp_path / "alone", images["builder"]).fill(images["built"])
    seen = []

    async def answer(reader, writer):
        seen.append(await reader.readline())
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"the test itself\n")
    assert await reader.read() == b"hello"  # it listens
    writer.close()
    content = hashlib.sha256(b"hello").hexdigest()
    fetches = shell(
        'x = pkgs.runCommand "x" { outputHashMode = "flat"; outputHashAlgo = "sha256"; '
        f'outputHash = "{content}"; }} '
        f"''exec 3<>/dev/tcp/127.0.0.1/{port}; echo >&3; cat <&3 > $out'';"
    )
    environment = {"SANDSTREAM_DEPENDENCIES_NETWORK": setting}
    stack = stack_of(nats, images, state=host.folder, environment=environment)
    async with server, running(nats, stack) as builder:
        state = await builder.build(fetches)
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    assert "refused" in stderr(state) or "unreachable" in stderr(state), stderr(state)
    assert seen == [b"the test itself\n"]
