"""The channel's derivations, recorded by set-up: their outputs are shared by all environments."""

from __future__ import annotations

import io
import subprocess

import pytest

from builder.trusted import recorded
from nix import channel
from nix.channel import trusted
from nix.channel.store import STORE_UID
from nix.progress import Progress

pytestmark = pytest.mark.integration

#: What a user's evaluation names, each on a line: its own derivation and those of the channel.
PLAN = """
derivation=$(nix-instantiate shell.nix --attr inputDerivation)
nix-store --query --requisites "$derivation" | grep '[.]drv$'
"""


def listed(prepared) -> frozenset[str]:
    return recorded(prepared.state / "nix", channel.revision(prepared.state))


def plan(prepared, packages: str) -> set[str]:
    shell = f"with import <nixpkgs> {{}}; mkShell {{ packages = [ {packages} ]; }}"
    return set(prepared.bash(PLAN, {"shell.nix": shell}).split())


def test_the_file_is_the_store_owners_and_readable_for_all(prepared):
    file = prepared.state / "nix" / trusted.DERIVATIONS
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (STORE_UID, 0o644)
    assert file.read_text().startswith(f"# channel {channel.revision(prepared.state)}\n")


def test_of_a_plain_shell_all_but_its_own_derivation_is_the_channels(prepared):
    own = plan(prepared, "python3 gcc jq python3Packages.numpy") - listed(prepared)
    assert [path.split("-", 1)[1] for path in own] == ["nix-shell-inputs.drv"]


@pytest.mark.parametrize(
    ("packages", "name"),
    [
        ('(runCommand "tool" { } "echo > $out")', "tool.drv"),
        ('(writeTextDir "x" "y")', "x.drv"),
        ("(python3.withPackages (ps: [ ps.numpy ]))", "-env.drv"),
        # the output path of a fixed output is the channel's own: only the .drv path tells
        (
            """(let index = builtins.fromJSON (builtins.readFile <nixpkgs/packages.json>);
               file = builtins.head index.packages.jq.debs; in derivation {
               name = file; system = "x86_64-linux"; builder = "/bin/sh";
               args = [ "-c" "echo EVIL > $out" ]; outputHashMode = "flat";
               outputHashAlgo = "sha256"; outputHash = index.debs.${file}; })""",
            ".deb.drv",
        ),
    ],
)
def test_what_a_user_derives_is_not_the_channels(prepared, packages, name):
    own = plan(prepared, packages) - listed(prepared)
    assert len(own) == 2
    assert any(path.endswith(name) for path in own)


def test_every_recorded_derivation_is_valid_and_no_collection_takes_it(prepared):
    paths = sorted(listed(prepared))
    # a collector waits until nobody builds, and this script itself counts as a build until then
    script = """
    xargs nix-store --check-validity < paths
    exec 9<&-; nix-store --gc --print-dead 2>/dev/null
    """
    dead = prepared.bash(script, {"paths": "\n".join(paths)}).split()
    assert len(paths) > 200
    assert set(paths) & set(dead) == set()


def test_a_state_folder_that_lacks_the_file_gets_it_and_nothing_else(prepared):
    before = listed(prepared)
    file = prepared.state / "nix" / trusted.DERIVATIONS
    file.unlink()
    said = io.StringIO()
    channel.prepare(prepared.state, prepared.tags.base, Progress(said))
    assert listed(prepared) == before
    (line,) = said.getvalue().splitlines()
    assert line.startswith("channel: derivations: ")


def test_a_file_of_another_channel_is_replaced(prepared):
    before = listed(prepared)
    file = prepared.state / "nix" / trusted.DERIVATIONS
    file.write_text(file.read_text().replace("# channel ", "# channel x"))
    channel.prepare(prepared.state, prepared.tags.base, Progress(io.StringIO()))
    assert listed(prepared) == before


def test_an_older_versions_store_is_filled_anew(prepared, tmp_path):
    """A build of the older version could rewrite a path in place: here it did."""
    for part in ("channel", "channel-cache", "nix"):
        subprocess.run(["cp", "--archive", prepared.state / part, tmp_path], check=True)
    store = tmp_path / "nix"
    (store / "var/sandstream/trusted/version").unlink()
    rewritten = next((store / "store").glob("*-jq_*.deb"))
    rewritten.chmod(0o644)
    rewritten.write_text("EVIL")
    channel.prepare(tmp_path, prepared.tags.base, Progress(io.StringIO()))
    assert trusted.is_stamped(tmp_path)
    assert rewritten.read_bytes() == (prepared.state / "nix/store" / rewritten.name).read_bytes()
    assert recorded(store, channel.revision(tmp_path)) == listed(prepared)
