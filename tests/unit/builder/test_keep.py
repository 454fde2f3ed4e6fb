"""An environment's name, and what is never imported; `tests/builder/test_keep.py` has the rest."""

from __future__ import annotations

import hashlib
import os
import resource

import pytest

from builder.keep import add_environment, environment_path
from builder.nar import NarRefused
from tests.unit.builder.nars import MAGIC, file, folder, one
from tests.unit.init.trees import in_child

DIGEST = hashlib.sha256(b"content").digest()
ID = "5" * 64
GLIBC = "/nix/store/" + "0" * 32 + "-glibc-2.40"
BASH = "/nix/store/" + "1" * 32 + "-bash"


async def sent(*parts):
    for part in parts:
        yield part


def add(scratch, *parts, max_bytes=10**6):
    return add_environment(
        scratch=scratch, id_=ID, names=["a"], references=[BASH], pieces=sent(*parts),
        max_bytes=max_bytes,
    )  # fmt: skip


def test_the_name_is_that_of_content_references_and_id():
    path = environment_path(ID, DIGEST, [GLIBC, BASH])
    assert path.endswith(f"-environment-{ID}")
    assert path == environment_path(ID, DIGEST, [BASH, GLIBC, BASH])
    others = {
        environment_path("6" * 64, DIGEST, [GLIBC, BASH])[:43],
        environment_path(ID, hashlib.sha256(b"other").digest(), [GLIBC, BASH])[:43],
        environment_path(ID, DIGEST, [GLIBC])[:43],
        environment_path(ID, DIGEST, [])[:43],
    }
    assert len(others | {path[:43]}) == 5


@pytest.mark.parametrize("reference", ["", "/etc/passwd", GLIBC + ":x", GLIBC + "/x", GLIBC + "\n"])
def test_what_is_no_store_path_is_no_reference(reference):
    with pytest.raises(ValueError, match="not a store path"):
        environment_path(ID, DIGEST, [BASH, reference])


@pytest.mark.parametrize("id_", ["a/b", "a b", "a\n", "a:b"])
def test_an_id_does_not_lead_elsewhere(id_):
    with pytest.raises(ValueError, match="not an environment's id"):
        environment_path(id_, DIGEST, [])


@pytest.mark.parametrize(
    ("data", "too_large"),
    [
        (one(file()) + b"x", False),
        (one(file())[:-1], False),
        (MAGIC + folder(), False),
        (b"", False),
        (one(file(bytes(10**6))), True),
    ],
    ids=["tail", "cut", "missing", "empty", "large"],
)
async def test_what_is_refused_leaves_nothing_and_asks_nothing_of_nix(
    tmp_path, monkeypatch, data, too_large
):
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(NarRefused) as caught:
        await add(tmp_path, data[:100], data[100:])
    assert caught.value.too_large == too_large
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_spool_that_can_not_grow_is_our_fault_and_leaves_nothing(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def limited():
        import asyncio

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(OSError, match="File too large"):
            asyncio.new_event_loop().run_until_complete(add(scratch, one(file(bytes(200_000)))))

    in_child(tmp_path, limited)
    assert list(scratch.iterdir()) == []


async def test_a_sender_that_breaks_off_leaves_nothing(tmp_path):
    async def broken():
        yield one(file())[:100]
        assert list(tmp_path.iterdir()) == []  # not while it comes either
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await add_environment(
            scratch=tmp_path, id_=ID, names=["a"], references=[], pieces=broken(), max_bytes=10**6
        )
    assert list(tmp_path.iterdir()) == []
