"""The host's store: its snapshot, and what is asked of it before a submission runs."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from streams.content import inline
from streams.environments import Environment
from streams.hoststore import InUse
from worker.store import DATABASE, HostStore, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another uid")


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state" / DATABASE
    folder.mkdir(parents=True)
    (folder / "schema").write_text("10")
    with closing(sqlite3.connect(folder / "db.sqlite")) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table ValidPaths (id integer primary key, path text)")
        database.execute("create table Refs (referrer integer, reference integer)")
        insert = "insert into ValidPaths (path) values (?)"
        database.executemany(insert, [("/nix/store/a",), (PATH,)])
        database.commit()
    return tmp_path / "state"


def paths(file) -> list[tuple[str]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("select path from ValidPaths").fetchall()


def test_it_holds_what_was_committed_while_a_writer_is_at_work(state, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with closing(sqlite3.connect(state / DATABASE / "db.sqlite")) as writer:
        writer.execute("insert into ValidPaths (path) values ('/nix/store/b')")
        copy = snapshot(state, scratch, 12345)
        writer.commit()
    assert paths(copy / "db.sqlite") == [("/nix/store/a",)]
    assert (copy / "schema").read_text() == "10"
    assert {path.stat().st_uid for path in (copy, *copy.iterdir())} == {12345}


def test_it_names_no_environment_and_nothing_that_refers_to_one(state, tmp_path):
    (tmp_path / "scratch").mkdir()
    hash_ = "0" * 32
    environment = f"/nix/store/{hash_}-environment-{'a' * 64}"
    others = [f"/nix/store/{hash_}-{name}" for name in ("x-environment-y", "environment", "tool")]
    with closing(sqlite3.connect(state / DATABASE / "db.sqlite")) as database:
        insert = "insert into ValidPaths (path) values (?)"
        database.executemany(insert, [(path,) for path in (environment, *others)])
        # of an environment, to two of them, and between two of the others
        database.executemany("insert into Refs values (?, ?)", [(3, 1), (6, 3), (6, 2), (6, 1)])
        database.commit()
    copy = snapshot(state, tmp_path / "scratch", 12345)
    assert paths(copy / "db.sqlite") == [("/nix/store/a",), *((path,) for path in others)]
    with closing(sqlite3.connect(copy / "db.sqlite")) as database:
        assert database.execute("select referrer, reference from Refs").fetchall() == [(6, 1)]
    raw = b"".join(file.read_bytes() for file in copy.iterdir())
    assert b"tool" in raw
    assert environment.encode() not in raw, "an unused page still has its name"
    assert (environment,) in paths(state / DATABASE / "db.sqlite")


def test_the_stores_own_folder_keeps_its_owner(state, tmp_path):
    folder = state / DATABASE
    for path in (folder, *folder.iterdir()):
        os.chown(path, 30000, 30000)
    (tmp_path / "scratch").mkdir()
    snapshot(state, tmp_path / "scratch", 12345)
    assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {30000}


def test_without_a_database_it_says_so(tmp_path):
    (tmp_path / "scratch").mkdir()
    with pytest.raises((OSError, sqlite3.Error)):
        snapshot(tmp_path, tmp_path / "scratch", 12345)


ID = "e" * 64
PATH = f"/nix/store/{'0' * 32}-environment-{ID}"
GONE = f"/nix/store/{'1' * 32}-environment-{ID}"


def environment(path=PATH):
    return Environment(id=ID, path=path, closure=(path,), profile=inline(b""))


def host(state, keeper=None, fetch_seconds=5.0):
    made = HostStore(state, keeper, fetch_seconds)
    made.make()
    return made


@asynccontextmanager
async def answering(socket, answer, seconds=0.0):
    """A storekeeper that says this; yields what it was asked."""
    asked, serving = [], []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        asked.append(json.loads(await reader.readline()))
        await asyncio.sleep(seconds)
        writer.write(answer)
        writer.close()
        await asyncio.wait({asyncio.create_task(writer.wait_closed())})

    async with await asyncio.start_unix_server(serve, socket):
        yield asked
        await asyncio.gather(*serving)


async def test_nobody_collects_while_a_submission_runs_with_or_without_an_environment(state):
    store = host(state)
    for wanted in (environment(), None):
        async with store.held(wanted) as missing, InUse(state / "nix").unused(0.1) as nobody:
            assert (missing, nobody) == (None, False)
    async with InUse(state / "nix").unused(0.1) as nobody:
        assert nobody


async def test_a_submission_counts_as_a_use_before_it_waits_for_a_collector(state):
    store = host(state)
    record = state / "nix/var/sandstream/environments" / f"{ID}.json"
    record.parent.mkdir()
    record.touch()
    os.utime(record, (100, 100))
    async with InUse(state / "nix").unused(0.1):
        waiting = asyncio.create_task(store.held(environment()).__aenter__())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert record.stat().st_mtime > 100
    await waiting


async def test_an_environment_that_was_collected_is_a_miss(state):
    async with host(state).held(environment(GONE)) as missing:
        assert missing == "it is no longer in this host's store"


@pytest.mark.parametrize(
    "path",
    [
        PATH.replace("e" * 64, "f" * 64),  # somebody else's
        PATH.removesuffix("e"),
        f"{PATH}-more",
        PATH.replace("-environment-", "-environment-x-"),
        PATH.replace("-environment-", "-tool-"),
        f"{PATH}/../{'0' * 32}-environment-{'f' * 64}",
        f"/tmp/{'0' * 32}-environment-{ID}",
        "/nix/store/a",
        "",
    ],
)
async def test_a_path_of_another_name_is_a_miss_that_the_log_shouts(state, tmp_path, caplog, path):
    with closing(sqlite3.connect(state / DATABASE / "db.sqlite")) as database:
        database.execute("insert into ValidPaths (path) values (?)", (path,))
        database.commit()
    async with answering(tmp_path / "socket", b'{"missing": []}\n') as asked:
        async with host(state, tmp_path / "socket").held(environment(path)) as missing:
            assert missing == f"{path} is not the path of environment {ID}"
        assert asked == []  # nothing is fetched either
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert ID in record.getMessage()
        assert repr(path) in record.getMessage()


async def test_the_storekeeper_is_asked_for_the_environments_path_and_nothing_else(state, tmp_path):
    socket = tmp_path / "socket"
    async with answering(socket, b'{"missing": []}\n') as asked:
        async with host(state, socket).held(environment()) as missing:
            assert missing is None
        async with host(state, socket).held(None) as missing:
            assert missing is None
    assert asked == [{"paths": [PATH], "wait_seconds": 5.0}]


@pytest.mark.parametrize(
    ("answer", "seconds", "why"),
    [
        (
            b'{"missing": ["%b"], "why": {"%b": "no key"}}\n' % (PATH.encode(), PATH.encode()),
            0,
            "no key",
        ),
        (b'{"missing": ["%b"]}\n' % PATH.encode(), 0, "no cache has it"),
        (b"", 0, "the storekeeper does not answer"),
        (b"no JSON\n", 0, "the storekeeper does not answer"),
        (b'{"missing": []}\n', 0.5, "not fetched within 0.2 s"),
    ],
)
async def test_what_is_not_brought_in_time_is_a_miss_with_its_reason(
    state, tmp_path, answer, seconds, why
):
    async with (
        answering(tmp_path / "socket", answer, seconds),
        host(state, tmp_path / "socket", 0.2).held(environment()) as missing,
    ):
        assert why in missing


async def test_what_was_fetched_and_collected_before_the_lock_is_a_miss(state, tmp_path):
    async with (
        answering(tmp_path / "socket", b'{"missing": []}\n'),
        host(state, tmp_path / "socket").held(environment(GONE)) as missing,
    ):
        assert missing == "it is no longer in this host's store"


def test_the_locks_folder_is_the_store_owners_whoever_makes_it(state):
    os.chown(state / "nix", 30000, 30000)
    host(state)
    folder = state / "nix/var/sandstream"
    assert folder.stat().st_uid == 30000
    assert {file.name for file in folder.iterdir()} == {"in-use", "gate"}
    host(state)
