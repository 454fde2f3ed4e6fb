"""nsjail's command lines as the code makes them, for `flows.md`."""

from __future__ import annotations

import shlex

from init import nix_jails, shell
from init.box import Box
from init.frames import Delegated
from init.jail import Jail, argv
from init.scratch import Scratch


def command(jail: Jail) -> str:
    """A jail's command line as a person reads it: one option and its value on a line."""
    lines: list[str] = []
    for word in argv(jail):
        quoted = shlex.quote(word)
        takes_a_value = lines and lines[-1].startswith("--") and " " not in lines[-1]
        if takes_a_value and lines[-1] != "--" and not word.startswith("--"):
            lines[-1] += f" {quoted}"
        else:
            lines.append(quoted)
    return "```sh\n" + " \\\n  ".join(lines) + "\n```"


def stage() -> str:
    """The jail of compile and of each run, with a closure of two paths."""
    closure = ("/nix/store/…-bash", "/nix/store/…-python3")
    box = Box(Delegated(2, {}))
    made = shell.Shell(closure, "/nix/store/…-bash/bin/bash", "/nix/store/…-coreutils/bin/env")
    return command(shell.stage_jail(box, made, Scratch("/box/run-0", 0), uid=1_000_017))


def daemon() -> str:
    folder = "/run/builder/job"
    return command(
        nix_jails.daemon_jail(uid=30_000, store="/nix", folder=folder, scratch=f"{folder}/scratch")
    )


def in_container() -> str:
    scratch = "/scratch"
    return command(
        nix_jails.container_jail(
            uid=1_000_017,
            files=f"{scratch}/files",
            var=f"{scratch}/var",
            scratch=f"{scratch}/builds",
        )
    )
