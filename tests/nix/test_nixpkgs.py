"""Real nixpkgs as the channel, but for the download: a small tree on this machine stands for it."""

from __future__ import annotations

import dataclasses
import http.server
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from nix import channel
from nix.channel import nar, nixpkgs
from nix.channel.store import Store
from nix.pin import Pin
from nix.progress import Progress
from nix.run import CommandFailedError

pytestmark = pytest.mark.integration

REVISION = "0123456789abcdef0123456789abcdef01234567"
DEFAULT = """
{ ... }: {
  answer = import ./lib/answer.nix;
  made = derivation {
    name = "made"; system = builtins.currentSystem;
    builder = "/bin/sh"; args = [ ./lib/build.sh ];
  };
}
"""


class Served:
    """A tarball on a port of this machine; `asked` lists the requests for it."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / f"nixpkgs-{REVISION}"
        (self.tree / "lib").mkdir(parents=True)
        (self.tree / "default.nix").write_text(DEFAULT)
        (self.tree / "lib" / "answer.nix").write_text("42\n")
        (self.tree / "lib" / "build.sh").write_text("echo built > $out\n")
        (self.tree / "lib" / "build.sh").chmod(0o755)
        (self.tree / "link").symlink_to("lib/answer.nix")
        with tarfile.open(folder / "nixpkgs.tar.gz", "w:gz") as tar:
            tar.add(self.tree, self.tree.name)
        self.asked: list[str] = []
        self.folder = folder

    def pin(self, port: int) -> Pin:
        url = f"http://127.0.0.1:{port}/nixpkgs.tar.gz"
        return Pin(REVISION, url, nar.sri(self.tree))

    @contextmanager
    def serving(self):
        asked, folder = self.asked, str(self.folder)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args) -> None:
                super().__init__(*args, directory=folder)

            def log_message(self, *args) -> None:
                asked.append(self.path)

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self.pin(server.server_port)
            finally:
                server.shutdown()
                thread.join()


@dataclasses.dataclass(frozen=True)
class Made:
    state: Path
    served: Served
    pin: Pin
    image: str

    def evaluated(self, expression: str) -> str:
        """As an evaluation does: it may read the channel, and no other path of the store."""
        store = Store(self.state / "nix", self.image)
        container = store.container(f"{self.state / 'channel'}:/channel:ro")
        argv = ["nix-instantiate", "--eval", "--option", "restrict-eval", "true"]
        return container.run([*argv, "--expr", expression]).strip()


@pytest.fixture(scope="module")
def made(prepared, tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"))
    state = tmp_path_factory.mktemp("state")
    with served.serving() as pin:
        image = prepared.tags.base
        assert channel.prepare(state, image, Progress(), pin) == f"nixpkgs-{REVISION}"
        yield Made(state, served, pin, image)


def test_the_revision_is_that_of_nixpkgs(made):
    assert channel.revision(made.state) == f"nixpkgs-{REVISION}"
    assert channel.made(made.state) == "nixpkgs"


def test_the_channel_is_the_fetched_tree_where_only_the_channel_can_be_read(made):
    assert made.evaluated("(import <nixpkgs> { }).answer") == "42"
    assert made.evaluated("import <nixpkgs/link>") == "42"
    with pytest.raises(CommandFailedError, match="restricted mode"):
        made.evaluated(f"import {made.state}/channel/default.nix")


def test_the_tree_has_the_revision_where_nixpkgs_looks_for_it_and_no_second_copy(made):
    folder = made.state / "channel"
    assert (folder / nixpkgs.REVISION).read_text() == REVISION
    assert (folder / "link").is_symlink()
    assert (folder / "default.nix").stat().st_nlink > 1
    assert (folder / "lib" / "build.sh").stat().st_mode & 0o777 == 0o555


def test_its_packages_are_built(made):
    (path,) = Store(made.state / "nix", made.image).build(
        made.state / "channel", ["<nixpkgs>"], ["made"]
    )
    assert (made.state / "nix/store" / Path(path).name).read_text() == "built\n"


def test_the_collector_leaves_the_tree_and_a_second_preparation_downloads_nothing(made):
    Store(made.state / "nix", made.image).container().run(["nix-store", "--gc"])
    before = len(made.served.asked)
    assert before > 0
    for stamp in (made.state / "channel-cache/inputs", None):
        channel.prepare(made.state, made.image, Progress(), made.pin)
        if stamp:
            stamp.unlink()
    assert len(made.served.asked) == before
    assert made.evaluated("(import <nixpkgs> { }).answer") == "42"


def test_another_content_than_the_pinned_one_is_refused_and_the_channel_stays(made):
    other = nar.sri(made.served.tree / "lib")
    wrong = dataclasses.replace(made.pin, revision="f" * 40, sha256=other)
    with pytest.raises(CommandFailedError, match="hash mismatch"):
        channel.prepare(made.state, made.image, Progress(), wrong)
    assert made.evaluated("(import <nixpkgs> { }).answer") == "42"
    assert channel.revision(made.state) == f"nixpkgs-{REVISION}"


def test_a_server_that_does_not_answer_is_named(made):
    wrong = Pin("e" * 40, "http://127.0.0.1:1/nixpkgs.tar.gz", "sha256-" + "A" * 43 + "=")
    with pytest.raises(CommandFailedError, match=r"127\.0\.0\.1:1/nixpkgs"):
        channel.prepare(made.state, made.image, Progress(), wrong)
