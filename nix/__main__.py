"""`python -m nix images | channel | prepare | warm | languages`: make what the processes run in."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from nix import channel, images, pin
from nix.channel.trusted import StateInUseError
from nix.mirror import NoMirrorError
from nix.progress import Progress
from nix.run import CommandFailedError

# What a person can mend; anything else is a fault of ours, and shows where.
EXPECTED = (
    CommandFailedError,
    NoMirrorError,
    StateInUseError,
    pin.NoPinError,
    pin.UnknownChannelError,
)
WARM = ["stdenvNoCC", "python3", "gcc", "gnumake"]


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m nix", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("images", help="build the container images that are missing")
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", type=Path, required=True, help="folder for channel and store")
    commands.add_parser("channel", parents=[state], help="make the channel and its store")
    commands.add_parser("prepare", parents=[state], help="images, then channel")
    warm = commands.add_parser("warm", parents=[state], help="build packages of the channel now")
    warm.add_argument("attributes", nargs="*", default=WARM)
    shells = "build what the ready-made shells need now"
    commands.add_parser("languages", parents=[state], help=shells)
    return top


def wanted(state: Path) -> pin.Pin | None:
    """Choose this state's channel: the pin of nixpkgs, None for the offline one."""
    asked = pin.setting(os.environ)
    pinned = pin.read()
    chosen = channel.made(state) if asked == "auto" else None
    if chosen is None:
        answers = asked == "auto" and pin.reachable()
        chosen = pin.choose_channel(asked, answers, pinned=pinned is not None)
    return pinned if chosen == "nixpkgs" else None


def main(argv: list[str]) -> int:
    """Run one command; results go to stdout as JSON, progress to stderr."""
    asked = parser().parse_args(argv)
    try:
        result = perform(asked, Progress())
    except EXPECTED as error:
        sys.stderr.write(f"python -m nix {asked.command}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


def perform(asked: argparse.Namespace, progress: Progress) -> dict[str, object]:
    """Make the images, then what the command names beside them."""
    made = images.build(progress)
    result: dict[str, object] = dict(asdict(made))
    if asked.command != "images":
        pinned = wanted(asked.state)
        result["revision"] = channel.prepare(asked.state, made.base, progress, pinned)
    if asked.command == "warm":
        result["built"] = channel.warm(asked.state, made.base, asked.attributes, progress)
    if asked.command == "languages":
        result["built"] = channel.warm_languages(asked.state, made.base, progress)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
