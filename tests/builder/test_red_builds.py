"""A container that lies: whatever it says to a real builder, the trusted side takes none of it.

It stands in for a build container whose Nix and init belong to an attacker. Each lie goes in the
place of a true word of an otherwise honest conversation, which ends in an environment: the control.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace

import pytest

from init.frames import (
    DependenciesDone,
    End,
    Environment,
    Export,
    Piece,
    Planned,
    Provided,
    Report,
)
from init.outcome import Outcome
from init.wire import Decoder, encode
from tests.builder.conftest import STATE
from tests.builder.hosts import UID
from tests.builder.test_shells import shell
from tests.unit.builder.nars import MAGIC, file, folder, link

pytestmark = pytest.mark.integration
OK = Report(Outcome.OK, 0, None, 0.1, 0.1, 1)
DATABASE = STATE / "nix/var/nix/db/db.sqlite"


def valid(like):
    """A valid path of the store whose name is like this."""
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as connection:
        query = "select path from ValidPaths where path like ? and path not like '%.drv' limit 1"
        found = connection.execute(query, (like,)).fetchone()
    assert found, like
    return found[0]


def own(name="inputs"):
    return f"/nix/store/{uuid.uuid4().hex.translate(str.maketrans('e', 'x'))}-{name}"


@dataclass
class Lie:
    """What the container says; as it stands, all of it is as it should be."""

    paths: tuple[str, ...] = field(default_factory=lambda: (own(),))
    report: Report = OK
    more: tuple[object, ...] = ()
    written: tuple[str, ...] = ()
    path: str = ""
    planned: tuple[Planned, ...] = ()
    nar: object = None
    provided: list[bytes] = field(default_factory=list)
    for_ever: object = None

    async def tell(self, reader, writer):
        decoder, waiting = Decoder(), []

        async def hear():
            while not waiting:
                data = await reader.read(1 << 20)
                if not data:
                    raise ConnectionResetError
                waiting.extend(decoder.feed(data))
            return waiting.pop(0)

        async def say(frame):
            writer.write(encode(frame))
            await writer.drain()

        await hear()  # the build
        for planned in self.planned:
            await say(planned)
            answer = await hear()
            assert isinstance(answer, Provided)
            self.provided.append(answer.registration)
        while self.for_ever == "planned":
            await say(Planned((own("x.drv"),)))
            await asyncio.sleep(0.2)
        bash = valid("%-bash-_._%")
        variable = {"type": "exported", "value": f"{bash}/bin/bash"}
        profile = json.dumps({"variables": {"BASH": variable}})
        closure = (*self.paths, bash, *self.more)
        built = Environment(closure, profile.encode(), self.path)
        honest = tuple(str(path).rpartition("/")[2] for path in self.paths if isinstance(path, str))
        await say(DependenciesDone(self.report, built, self.written or honest))
        asked = await hear()
        assert isinstance(asked, Export)
        while self.for_ever == "pieces":
            await say(Piece(b""))
            await asyncio.sleep(0.2)
        nar = MAGIC + folder(*((name.encode(), file(b"own")) for name in asked.names))
        await say(Piece(nar if self.nar is None else self.nar(asked.names)))
        await say(End())


class Liar:
    def __init__(self, builder):
        self.builder = builder
        self.lie = Lie()

    async def serve(self, reader, writer):
        try:
            await self.lie.tell(reader, writer)
            await reader.read()
        except (OSError, AssertionError):
            pass
        finally:
            writer.close()

    async def build(self, lie, **limits):
        """What becomes of a build in which the container tells this: the state, or None at a fault.

        Only faults of ours are tried again; so one that is has kept nothing.
        """
        self.lie = lie
        before = await self.builder.said("; again in ")
        id_ = await self.builder.submit(shell(), **limits)
        for _ in range(600):
            state = await self.builder.log.state(id_)
            if state.dependencies is not None:
                return state
            if await self.builder.said("; again in ") > before:
                await self.builder.cancel(id_)
                return None
            await asyncio.sleep(0.05)
        raise AssertionError(await self.builder.pair.builder.log())


@asynccontextmanager
async def lying(builder):
    """A builder whose pool lends containers of the attacker's."""
    liar = Liar(builder)
    builder.stack.pool.unlink()
    server = await asyncio.start_unix_server(liar.serve, builder.stack.pool)
    os.chown(builder.stack.pool, UID, UID)
    try:
        yield liar
    finally:
        server.close()


@pytest.fixture
async def liar(builder):
    async with lying(builder) as made:
        yield made


def environment_of(liar, state):
    assert state.dependencies.outcome == "ok", state.dependencies
    assert state.environment.path.endswith(f"-environment-{state.environment_id}")
    return STATE / "nix/store" / state.environment.path.split("/")[3]


async def test_what_is_as_it_should_be_becomes_an_environment(liar):
    lie = Lie(planned=(Planned((own("x.drv"),), (own(),)),))
    state = await liar.build(lie)
    top = environment_of(liar, state)
    assert {entry.name: entry.read_text() for entry in top.iterdir()} == {
        path.split("/")[3]: "own" for path in lie.paths
    }
    assert lie.provided == [b""]


async def test_no_build_names_the_environment_of_another(builder):
    """Not in its closure, and not to have it provided; the same of a trusted path goes well."""
    theirs = (await builder.build(shell())).environment.path
    trusted = valid("%-python3-%")
    async with lying(builder) as liar:
        state = await liar.build(Lie(more=(theirs,)))
        assert state.dependencies.outcome == "nonzero-exit", state.dependencies
        assert state.dependencies.message.startswith("ATTACK: ")
        assert state.environment is None
        asks = Lie(planned=(Planned((theirs,), (theirs,)), Planned((), (trusted,))), path=theirs)
        state = await liar.build(asks)
        assert environment_of(liar, state).name != theirs.split("/")[3]
        assert asks.provided[0] == b""
        assert trusted.encode() in asks.provided[1]
        environment_of(liar, await liar.build(Lie(more=(trusted,))))


#: What no reader of an event could read, or what is no word of ours.
MALFORMED = {
    "no number": Lie(report=replace(OK, cpu_seconds=float("nan"))),
    "no end": Lie(report=replace(OK, wall_seconds=float("inf"))),
    "negative": Lie(report=replace(OK, memory_peak_bytes=-1)),
    "no UTF-8": Lie(report=replace(OK, message="\ud800")),
    "no text": Lie(report=replace(OK, starved=5)),
    "more than the limit": Lie(report=replace(OK, stderr=b"x" * 2_000_000)),
    "no path": Lie(more=("/nix/store/../../etc",)),
    "no string": Lie(more=(5,)),
    "asks for no string": Lie(planned=(Planned((), ([1],)),)),
    "asks without end": Lie(planned=(Planned((own("x.drv"),)),) * 10),
}


async def test_malformed_words_are_our_fault_and_no_event(liar):
    """A word that made an event which can't be read would stand in the log for ever."""
    for case, lie in MALFORMED.items():
        assert await liar.build(lie) is None, case
        assert await liar.builder.said("BoxGone: ") > 0
    assert await liar.builder.said("TypeError: ") == 0
    environment_of(liar, await liar.build(Lie()))


#: Archives beside the one that was asked for, by its only name, and the words of the refusal.
ARCHIVES = {
    "other": (lambda _: MAGIC + folder((b"other", file())), "'other' was not asked for"),
    "more": (lambda n: MAGIC + folder((n, file()), (b"z", file())), "'z' was not asked for"),
    "twice": (lambda n: MAGIC + folder((n, file()), (n, file())), "not sorted, or twice"),
    "cut": (lambda n: (MAGIC + folder((n, file())))[:-8], "cut short"),
    "longer": (lambda n: MAGIC + folder((n, file())) + bytes(8), "more follows"),
    "above": (lambda n: MAGIC + folder((n, folder((b"..", file())))), "not a file name: '..'"),
    "beside": (lambda n: MAGIC + folder((n, folder((b"a/b", file())))), "not a file name: 'a/b'"),
    "link": (
        lambda n: MAGIC + folder((n, folder((b"a", link(b"/nix")), (b"a", folder())))),
        "not sorted, or twice",
    ),
}


async def test_no_archive_but_the_one_that_was_asked_for_is_kept(liar):
    for case, (made, words) in ARCHIVES.items():
        state = await liar.build(Lie(nar=lambda names, made=made: made(names[0].encode())))
        assert state.dependencies.outcome == "nonzero-exit", (case, state.dependencies)
        assert words in state.dependencies.stderr.inline().decode(), case
        assert state.environment is None, case
    environment_of(liar, await liar.build(Lie()))


_LINK = '"${pkgs.runCommand "link-%s" { } "ln -s %s $out"}/."'
#: How an evaluation may ask for another's environment, and the words of the refusal.
ASKED = {
    "link": ("builtins.toJSON (builtins.readDir %(link)s)", "is forbidden in restricted mode"),
    "copy": ('builtins.path { path = %(link)s; name = "n"; }', "is forbidden in restricted mode"),
    "git": ('(builtins.fetchGit "%(theirs)s").outPath', "is forbidden in restricted mode"),
    "context": (
        (
            'builtins.readFile (builtins.appendContext "%(theirs)s" '
            '{ "%(theirs)s" = { path = true; }; })'
        ),
        "there is no substituter that can build it",
    ),
    "wanted": (
        "throw \"error: Cannot build '%(theirs)s.drv'.\"",
        "there is no substituter that can build it",
    ),
}


async def test_no_evaluation_reads_the_environment_of_another(builder):
    theirs = (await builder.build(shell())).environment.path
    own_folder = 'pkgs.runCommand "own" { } "mkdir $out; touch $out/mine"'
    link = _LINK % (uuid.uuid4().hex, theirs)
    asked = {
        case: await builder.submit(shell(f"X = {text % {'link': link, 'theirs': theirs}};"))
        for case, (text, _) in ASKED.items()
    }
    read = f"X = builtins.toJSON (builtins.readDir ({own_folder}));"
    state = await builder.build(shell(read))
    assert state.dependencies.outcome == "ok", state.dependencies
    for case, id_ in asked.items():
        state = await builder.built(id_)
        assert state.dependencies.outcome == "nonzero-exit", (case, state.dependencies)
        assert ASKED[case][1] in state.dependencies.stderr.inline().decode(), case
        assert theirs in state.dependencies.stderr.inline().decode(), case
