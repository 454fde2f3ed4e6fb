"""Of the host's store a build sees everything but environments and other users' builds."""

from __future__ import annotations

import stat

from init.dependencies import _hide


def test_environments_locks_and_roots_of_builds_are_hidden_and_nothing_else(tmp_path):
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
    environment = f"{'0' * 32}-environment-{'a' * 64}"
    for name in (environment, f"{'1' * 32}-my-environment-x"):
        (store / name).mkdir()
    _hide(str(store), str(upper))
    hidden = {path.name: path.lstat() for path in upper.iterdir()}
    assert sorted(hidden) == [environment, "a-shell.lock", "d-x.drv.chroot"]
    assert all(stat.S_ISCHR(found.st_mode) and found.st_rdev == 0 for found in hidden.values())
