"""One prepared state for all: the images, the channel and its store, kept between test runs."""

from __future__ import annotations

import base64
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from nix import channel, images
from nix.channel.store import HELD, Store
from nix.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[2]
JAIL = (Path(__file__).parent / "jail.sh").read_text()


@dataclass(frozen=True)
class Prepared:
    state: Path
    tags: images.ImageTags

    def bash(self, script: str, files: dict[str, str] | None = None) -> str:
        """Run a script in an unprivileged container, beside the given files in /tmp/files."""
        lines = ["set -eu", HELD, "mkdir /tmp/files", "cd /tmp/files"]
        for name, content in (files or {}).items():
            encoded = base64.b64encode(content.encode()).decode()
            lines.append(f"echo {encoded} | base64 -d > {name}")
        store = Store(self.state / "nix", self.tags.base)
        volume = f"{(self.state / 'channel').resolve()}:/channel:ro"
        container = store.container(volume, nix_builds=True)
        return container.run(["/bin/bash", "-c", "\n".join([*lines, script])])

    def jailed(self, shell: str, script: str) -> str:
        """Run a script where only the closure of a shell.nix can be seen."""
        return self.bash(
            'bash jail.sh "$PWD/shell.nix" "$(cat script)"',
            {"shell.nix": shell, "script": textwrap.dedent(script), "jail.sh": JAIL},
        )


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    state = Path(os.environ.get("SANDSTREAM_TEST_STATE", REPOSITORY / ".state-test"))
    tags = images.build(Progress())
    channel.prepare(state, tags.base, Progress())
    return Prepared(state, tags)
