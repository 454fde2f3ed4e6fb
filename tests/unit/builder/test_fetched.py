"""What a worker host has fetched, and why it could not fetch: on a database as Nix keeps one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from builder.catalogue import Used
from builder.fetched import Fetched
from builder.nixstore import closure_in
from builder.storekeeper import reason

PATHS = ("/nix/store/a", "/nix/store/b", "/nix/store/c", "/nix/store/loop")


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "var/nix/db"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "db.sqlite")) as database:
        database.execute("create table ValidPaths (id integer primary key, path text)")
        database.execute("create table Refs (referrer integer, reference integer)")
        database.executemany("insert into ValidPaths (path) values (?)", [(p,) for p in PATHS])
        # a needs b, b needs c, and one needs itself, as most do
        database.executemany("insert into Refs values (?, ?)", [(1, 2), (2, 3), (2, 2), (4, 4)])
        database.commit()
    return tmp_path


def test_a_closure_is_all_that_a_path_needs(store):
    database = store / "var/nix/db/db.sqlite"
    assert closure_in(database, "/nix/store/a") == PATHS[:3]
    assert closure_in(database, "/nix/store/loop") == ("/nix/store/loop",)
    assert closure_in(database, "/nix/store/gone") == ()


def test_a_fetched_path_is_kept_with_the_time_of_its_last_use(store):
    fetched = Fetched(store)
    fetched.make()
    fetched.keep("/nix/store/a")
    root = store / "var/nix/gcroots/sandstream-fetched/a"
    os.utime(root, (100, 100), follow_symlinks=False)
    assert list(fetched.environments()) == [Used("a", 100.0, PATHS[:3])]
    fetched.keep("/nix/store/a")
    (again,) = fetched.environments()
    assert again.at > 100
    assert not fetched.remove("a", unused_since=100.0)
    assert fetched.remove("a", unused_since=again.at)
    assert list(fetched.environments()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "copying\nwarning: ignoring x, as it's not signed by any of the keys in y\nerror: end",
            "warning: ignoring x, as it's not signed by any of the keys in y",
        ),
        ("warning: unable to download 'x': refused\nerror: no", "warning: unable to download 'x'"),
        ("one\n\n  the last  \n", "the last"),
        ("", "no words"),
    ],
)
def test_the_reason_is_the_line_that_says_most(words, expected):
    assert reason(words).startswith(expected)
