"""Nothing older is trusted: what set-up does with a state folder that an older version filled."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path

import pytest

from init import storestamp
from nix.channel import trusted
from nix.channel.store import STORE_UID, Store
from nix.progress import Progress

OLD_KEYS = ("builder/cache-key.secret", "builder/cache-key.public", "builder-two/cache-key.secret")


@pytest.fixture
def state(tmp_path):
    """As an older version left one: a rewritten bash, a cache, keys, and hostile trees."""
    for file in ("nix/store/x-bash/bin/bash", "cache/x.narinfo", "cache/keys/b.pub", *OLD_KEYS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("EVIL")
    (tmp_path / "nix/var/sandstream").mkdir(parents=True)
    (tmp_path / "nix/var/sandstream/in-use").touch()
    (tmp_path / "channel").mkdir()
    (tmp_path / "builder/jobs").mkdir()
    return tmp_path


def everything(folder: Path) -> list[str]:
    return [name for _, folders, files in os.walk(folder) for name in folders + files]


def test_an_older_versions_store_cache_and_keys_are_dropped_in_one_line(state):
    said = io.StringIO()
    assert trusted.drop_older(state, Progress(said))
    assert everything(state / "nix") == everything(state / "cache") == []
    assert [key for key in OLD_KEYS if (state / key).exists()] == []
    assert len(said.getvalue().splitlines()) == 1
    assert (state / "channel").is_dir()
    assert (state / "builder/jobs").is_dir()


def test_a_store_of_this_version_is_left_alone(state):
    storestamp.stamp(str(state / "nix"))
    before = everything(state)
    said = io.StringIO()
    assert not trusted.drop_older(state, Progress(said))
    assert everything(state) == before
    assert said.getvalue() == ""


@pytest.mark.parametrize("version", ["1", "", "22", "2.0"])
def test_another_version_is_none_of_ours(state, version):
    storestamp.stamp(str(state / "nix"))
    (state / "nix" / storestamp.FOLDER / "version").write_text(version)
    assert trusted.drop_older(state, Progress(io.StringIO()))
    assert everything(state / "nix") == []


def test_trees_that_are_deep_unreadable_and_no_text_hinder_nothing(state):
    store = state / "nix/store"
    (store / "locked").mkdir()
    (store / "locked/file").touch()
    (store / "locked").chmod(0)
    (store / os.fsdecode(b"\xff\xfe")).mkdir()
    (store / "loop").symlink_to(store)
    here = os.open(store, os.O_RDONLY)
    try:
        for _ in range(3000):  # far above the longest path
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    assert trusted.drop_older(state, Progress(io.StringIO()))
    assert everything(state / "nix") == []


def test_what_a_link_of_an_old_store_names_is_left_alone(state, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").touch()
    (state / "nix/store/out").symlink_to(outside)
    (state / "cache/out").symlink_to(outside)
    trusted.drop_older(state, Progress(io.StringIO()))
    assert (outside / "file").exists()


def test_a_store_on_another_disk_stays_there(state, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (state / "nix").rename(disk / "nix")
    (state / "nix").symlink_to(disk / "nix")
    trusted.drop_older(state, Progress(io.StringIO()))
    assert (state / "nix").is_symlink()
    assert everything(disk / "nix") == []


@pytest.mark.parametrize("lock", trusted.LOCKS)
def test_a_store_that_is_in_use_is_not_dropped_and_the_remedy_is_told(state, lock):
    before = everything(state)
    with (state / lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(trusted.StateInUseError, match="stop that, then run `make setup`"):
            trusted.drop_older(state, Progress(io.StringIO()))
    assert set(everything(state)) == {*before, Path(lock).name}


def test_a_set_up_that_was_cut_short_drops_the_rest_at_its_next_run(state, monkeypatch):
    monkeypatch.setattr(trusted, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trusted.drop_older(state, Progress(io.StringIO()))
    assert not (state / "nix/store").exists()  # put aside already
    monkeypatch.undo()
    assert trusted.drop_older(state, Progress(io.StringIO()))
    assert everything(state / "nix") == everything(state / "cache") == []


def test_a_new_store_is_stamped_and_one_that_is_there_is_not(tmp_path):
    Store(tmp_path / "nix", "image").create()
    assert trusted.is_stamped(tmp_path)
    version = tmp_path / "nix" / storestamp.FOLDER / "version"
    assert (version.stat().st_uid, version.stat().st_mode & 0o777) == (STORE_UID, 0o644)
    assert version.parent.stat().st_uid == version.parent.parent.stat().st_uid == STORE_UID
    version.unlink()
    Store(tmp_path / "nix", "image").create()
    assert not trusted.is_stamped(tmp_path)


def test_a_folder_with_nothing_in_it_needs_no_words(tmp_path):
    said = io.StringIO()
    assert not trusted.drop_older(tmp_path, Progress(said))
    assert said.getvalue() == ""
