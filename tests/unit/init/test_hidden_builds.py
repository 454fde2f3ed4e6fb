"""Of the host's store a container sees everything but what other users' builds are about."""

from __future__ import annotations

import stat

from init.dependencies import _hide_others_builds


def test_locks_and_roots_of_builds_are_hidden_and_nothing_else(tmp_path):
    store, upper = tmp_path / "store", tmp_path / "upper"
    store.mkdir()
    upper.mkdir()
    for name, mode in (("a-shell.lock", 0o600), ("b-poetry.lock", 0o444), ("c-python3", 0o444)):
        (store / name).touch(mode)
        (store / name).chmod(mode)
    (store / "d-x.drv.chroot" / "root").mkdir(parents=True)
    (store / "d-x.drv").touch()
    (store / "h-x.drv.chroot").mkdir()  # an output may be called so
    for name, target in (("e.lock", "e.lock"), ("f.lock", "/root"), ("g.lock", "nowhere")):
        (store / name).symlink_to(target)
    _hide_others_builds(str(store), str(upper))
    hidden = {path.name: path.lstat() for path in upper.iterdir()}
    assert sorted(hidden) == ["a-shell.lock", "d-x.drv.chroot"]
    assert all(stat.S_ISCHR(found.st_mode) and found.st_rdev == 0 for found in hidden.values())
