"""A builder and a worker over one store, and the shells of an attacker and of a victim.

Where a victim is attacked, its program is really run, and what it prints is compared.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager

from tests.builder.hosts import ended
from tests.worker.conftest import Worker

#: The issue's own example, to the letter.
ISSUE = (
    "p=${tool}; chmod u+w $p $p/bin $p/bin/tool; "
    "printf '#!/bin/sh\\necho EVIL\\n' > $p/bin/tool; touch $out"
)


class World:
    """A builder and a worker over one store: what a shell's programs print is really printed."""

    def __init__(self, builder):
        self.builder = builder

    async def submit(self, shell, run="tool", **more):
        return await self.builder.submit(shell, files={"run.sh": run}, **more)

    async def ended(self, id_):
        return await ended(self.builder, id_, within=180)

    async def run(self, shell, run="tool", **more):
        return await self.ended(await self.submit(shell, run, **more))

    async def prints(self, shell, run="tool", **more):
        return printed(await self.run(shell, run, **more))


def printed(state):
    assert state.dependencies.outcome == "ok", state.dependencies
    assert state.runs[0].outcome == "ok", state.runs
    return state.runs[0].stdout.data


@asynccontextmanager
async def working(builder, image):
    """The builder's host has a worker, too."""
    worker = Worker(builder.stack.state, image, builder.nats)
    try:
        await worker.start()
        yield World(builder)
    finally:
        await worker.stop()
        print(worker.words())  # noqa: T201 - pytest shows it when a test fails
    assert worker.remains() == []


def fresh():
    return uuid.uuid4().hex


def shell(mark, more="", *, once=""):
    """A shell with the tool of this mark, which prints GOOD; the same mark is the same derivation.

    `more` may use `tool`. Another `once` is another environment.
    """
    return f"""{{ pkgs ? import <nixpkgs> {{}} }}: let
  tool = pkgs.runCommand "tool-{mark}" {{}} ''
    mkdir -p $out/bin
    printf '#!/bin/sh\\necho GOOD\\n' > $out/bin/tool
    chmod +x $out/bin/tool
  '';
in pkgs.mkShell {{ packages = [ tool pkgs.python3 ]; ONCE = "{once}"; {more} }}"""


def hostile(mark, script=ISSUE):
    """The same tool, and a build that has it as its input."""
    return shell(mark, f"x = pkgs.runCommand \"a-{fresh()}\" {{}} ''{script}'';")


def path_of(state, name):
    """The one path of a closure whose name ends so."""
    (path,) = (path for path in state.environment.closure if path.endswith(f"-{name}"))
    return path
