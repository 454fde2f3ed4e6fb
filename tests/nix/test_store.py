"""Set-up and builders share a store, and neither knows of the other but through it."""

from __future__ import annotations

import threading
import time

import pytest

from builder.shared import Shared
from nix.channel.store import Store

pytestmark = pytest.mark.integration
SLOW = """
{ slow = derivation {
    name = "slow"; system = builtins.currentSystem; builder = "/bin/sh";
    args = [ "-c" "sleep 3; echo built > $out" ];
}; }
"""


def busy(shared: Shared) -> bool:
    with shared.no_job() as nobody:
        return not nobody


def test_a_builder_sees_that_set_up_builds_and_leaves_its_roots_alone(prepared, tmp_path):
    store = Store(tmp_path / "nix", prepared.tags.base)
    store.create()
    shell = tmp_path / "slow.nix"
    shell.write_text(SLOW)
    (tmp_path / "channel").mkdir()
    volume = f"{shell}:/slow.nix:ro"
    built: list[str] = []

    def build() -> None:
        built.extend(store.build(tmp_path / "channel", ["/slow.nix"], ["slow"], volume))

    building = threading.Thread(target=build)
    building.start()
    roots = store.folder / "store"
    while building.is_alive() and not any(roots.glob("*.drv.chroot")):
        time.sleep(0.01)
    assert busy(Shared(store.folder))
    building.join()
    assert not busy(Shared(store.folder))
    assert (roots / built[0].removeprefix("/nix/store/")).is_file()
