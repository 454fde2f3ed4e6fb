"""Attacks on what others run: a hostile shell, and beside it a victim whose program really runs.

Each attack has its control in the attacker's own environment, where it may succeed: its programs
print EVIL there. Otherwise a test would pass because the attack had a mistake in it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from streams.setup import LogSettings
from tests.builder.conftest import STATE, running, stack_of
from tests.builder.hosts import Host
from tests.builder.world import ISSUE, fresh, hostile, path_of, printed, shell, working
from tests.conftest import log_server
from tests.steps import nix_string, program, told

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
STORE = STATE / "nix/store"


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
async def test_an_input_that_another_submission_made_is_not_changed(world, cache):
    """The issue's own attack, at whom has the tool already, and at whom builds it later."""
    mark = fresh()
    victim = await world.run(shell(mark))
    assert (printed(victim), victim.how) == ("GOOD\n", "built")
    attacker = await world.run(hostile(mark), cache=cache)
    assert printed(attacker) == "EVIL\n"  # in its own environment the attack has succeeded
    again = await world.run(shell(mark))
    assert (printed(again), again.how) == ("GOOD\n", "hit")
    later = await world.run(shell(mark, once="later"))
    assert (printed(later), later.how) == ("GOOD\n", "built")
    uncached = await world.run(shell(mark), cache=False)
    assert (printed(uncached), uncached.how) == ("GOOD\n", "in-container")
    name = f"tool-{mark}"  # it is one and the same path that holds both
    paths = {path_of(one, name) for one in (victim, attacker, again, later, uncached)}
    assert len(paths) == 1


async def test_an_input_that_the_hostile_job_was_the_first_to_build_is_its_own_alone(world):
    """Two environments share a derivation; each keeps its own content at the one path."""
    mark = fresh()
    text = hostile(mark)
    attacker = await world.run(text)
    assert (printed(attacker), attacker.how) == ("EVIL\n", "built")
    victim = await world.run(shell(mark))
    assert (printed(victim), victim.how) == ("GOOD\n", "built")
    name = f"tool-{mark}"
    assert path_of(attacker, name) == path_of(victim, name)
    for wanted, words in ((text, "EVIL\n"), (shell(mark), "GOOD\n")) * 2:
        state = await world.run(wanted)
        assert (printed(state), state.how) == (words, "hit")


async def test_who_joins_a_hostile_build_gets_it_and_who_builds_beside_it_does_not(world):
    mark = fresh()
    text = hostile(mark, f"sleep 4; {ISSUE}")
    ids = [await world.submit(text) for _ in range(2)]
    beside = await world.submit(shell(mark))
    states = await asyncio.gather(*(world.ended(id_) for id_ in (*ids, beside)))
    assert [printed(state) for state in states] == ["EVIL\n", "EVIL\n", "GOOD\n"]
    assert sorted(state.how for state in states[:2]) == ["built", "joined"]
    assert states[2].how == "built"


#: What a build tries at each of its inputs: `p` is its path, `f` a program in its folder `d`.
TRIED = {
    "chmod": "os.chmod({p}, 0o755)",
    "chmod folder": "os.chmod({d}, 0o755)",
    "chmod file": "os.chmod({f}, 0o755)",
    "write": "write({f})",
    "create": "write({d} + '/mine')",
    "utime": "os.utime({f})",
    "link": "os.link({f}, {d} + '/linked')",
    "symlink": "os.symlink('/nowhere', {d} + '/away')",
    "rename": "os.rename({f}, {f} + '-moved'); os.rename({f} + '-moved', {f})",
    "remove": "os.remove({f})",
    "mount": "call(165, b'/tmp', {p}.encode(), None, 4096, None)",
    "move all": "os.rename({p}, {p} + '-moved')",
}
#: Nix binds each input, so a path as a whole is busy. No build has the capability to mount.
OWN = dict.fromkeys(TRIED, "done") | {"mount": "EPERM", "move all": "EBUSY"}
TRUSTED = dict.fromkeys(TRIED, "EACCES") | {
    "chmod": "EPERM", "chmod folder": "EPERM", "chmod file": "EPERM", "link": "EPERM",
    "mount": "EPERM", "move all": "EBUSY",
}  # fmt: skip


def trying(files):
    """A program that tries all of them at each file, which is told by its variable and its name."""
    steps = {}
    for variable, name in files.items():
        path = f"os.environ[{variable!r}]"
        names = {"p": path, "d": f"{path} + '/bin'", "f": f"{path} + '/bin/{name}'"}
        names = {key: f"({code})" for key, code in names.items()}
        steps |= {f"{variable} {step}": code.format(**names) for step, code in TRIED.items()}
    return program(steps)


async def test_a_build_changes_no_path_of_the_channel(world):
    """Python and bash, which all submissions run; the same steps change what is the job's own."""
    mark = fresh()
    run = "bash -c 'echo GOOD'; python3 -c 'print(6 * 7)'; sha256sum $(type -p bash python3)"
    victim = await world.run(shell(mark), run)
    assert printed(victim).startswith("GOOD\n42\n")
    files = {"python": "python3", "bash": "bash", "tool": "tool", "out": "file"}
    more = f"""x = pkgs.runCommand "a-{mark}" {{
        attack = {nix_string(trying(files))}; passAsFile = [ "attack" ];
        python = pkgs.python3; bash = pkgs.bash; inherit tool;
      }} ''
        mkdir -p $out/bin; touch $out/bin/file
        ${{pkgs.python3}}/bin/python3 $attackPath; exit 1
      '';"""
    state = await world.run(shell(mark, more))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    found = told(state.dependencies.stderr.inline())
    by = {one: {step: found.get(f"{one} {step}") for step in TRIED} for one in files}
    assert by == {
        "python": TRUSTED, "bash": TRUSTED, "tool": OWN, "out": OWN | {"move all": "done"},
    }  # fmt: skip
    again = await world.run(shell(mark), run)
    assert (printed(again), again.how) == (printed(victim), "hit")
    assert await world.prints(shell(mark, once="later"), run) == printed(victim)
    assert await world.prints(shell(mark)) == "GOOD\n"


def fixed(mark):
    """A fixed output that prints GOOD, and its derivation."""
    words = f"echo GOOD # {mark}\n"
    digest = hashlib.sha256(words.encode()).hexdigest()
    return f"""fixed = derivation {{
        name = "fixed-{mark}"; system = "x86_64-linux"; builder = "/bin/sh";
        outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "{digest}";
        args = [ "-c" "echo 'echo GOOD # {mark}' > $out" ];
      }};"""


async def test_a_fixed_output_that_was_changed_after_its_registration_is_nobody_elses(world):
    """Nix has computed its hash by then, and does not look again."""
    mark = fresh()

    def text(more):
        return (
            f"{{ pkgs ? import <nixpkgs> {{}} }}: let {fixed(mark)} in "
            f"pkgs.mkShell {{ FIXED = fixed; {more} }}"
        )

    attack = "p=${fixed}; chmod u+w $p; echo 'echo EVIL' > $p; touch $out"
    x = f"x = pkgs.runCommand \"a-{mark}\" {{}} ''{attack}'';"
    run = "bash $FIXED"
    attacker = await world.run(text(x), run)
    assert printed(attacker) == "EVIL\n"
    victim = await world.run(text(""), run)
    assert (printed(victim), victim.how) == ("GOOD\n", "built")
    assert path_of(victim, f"fixed-{mark}") == path_of(attacker, f"fixed-{mark}")
    assert await world.prints(text(x), run) == "EVIL\n"
    # and where the victim was there before
    assert await world.prints(text(x + ' ONCE = "more";'), run) == "EVIL\n"
    again = await world.run(text(""), run)
    assert (printed(again), again.how) == ("GOOD\n", "hit")


def overridden(deb, more=""):
    """A shell with a fixed output that has the output path of a source of the channel's.

    Its builder is the shell's own, and so is its derivation.
    """
    content = deb.read_bytes()
    return f"""{{ pkgs ? import <nixpkgs> {{}} }}: let
  deb = pkgs.runCommand "{deb.name[33:]}" {{
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "{hashlib.sha256(content).hexdigest()}";
  }} "echo {base64.b64encode(content).decode()} | base64 -d > $out";
in pkgs.mkShell {{ DEB = deb; {more} }}"""


SOURCE = "cat $DEB | sha256sum"
TOUCHED = "if chmod u+w ${deb}; then echo EVIL > ${deb}; echo changed; fi; touch $out"


@pytest.fixture
def deb():
    """The smallest source of the channel, and what SOURCE prints of it."""
    found = min(STORE.glob("*.deb"), key=lambda path: path.stat().st_size)
    return found, hashlib.sha256(found.read_bytes()).hexdigest() + "  -\n"


async def test_a_source_of_the_channel_is_not_changed_by_who_overrides_its_builder(world, deb):
    path, right = deb
    x = f"x = pkgs.runCommand \"a-{fresh()}\" {{}} ''{TOUCHED}'';"
    attacker = await world.run(overridden(path, x), SOURCE)
    assert f"/nix/store/{path.name}" in attacker.environment.closure
    words = attacker.dependencies.stderr.inline().decode()
    assert "Operation not permitted" in words
    assert "changed" not in words
    assert printed(attacker) == right
    assert hashlib.sha256(path.read_bytes()).hexdigest() + "  -\n" == right


async def test_what_a_shell_has_built_at_a_path_of_the_channel_is_not_trusted(
    images, deb, tmp_path
):
    """In a store that lacks this source: the hash was right, when Nix looked."""
    path, right = deb
    host = Host(tmp_path / "host", images["builder"]).fill(images["built"])
    assert not (host.store / path.name).exists()
    x = f"x = pkgs.runCommand \"a-{fresh()}\" {{}} ''{TOUCHED}'';"
    async with log_server(tmp_path, LogSettings(lease_seconds=60)) as nats:
        stack = stack_of(nats, images, state=host.folder)
        async with running(nats, stack) as builder:
            builder.nats = nats
            async with working(builder, images["runner"]) as world:
                attacker = await world.run(overridden(path, x), "cat $DEB")
                honest = await world.run(overridden(path), SOURCE)
    assert printed(attacker) == "EVIL\n"
    assert printed(honest) == right
    name = f"/nix/store/{path.name}"
    assert name in set(attacker.environment.closure) & set(honest.environment.closure)
    valid = host.valid()
    assert {attacker.environment.path, honest.environment.path} <= valid
    assert name not in valid
    assert not (host.store / path.name).exists()


async def test_a_derivation_that_others_will_build_is_not_changed(world):
    """A build can have a .drv as an input. Its own it may rewrite; the channel's it may not."""
    mark = fresh()
    attack = (
        "for d in ${builtins.unsafeDiscardOutputDependency tool.drvPath}"
        " ${builtins.unsafeDiscardOutputDependency pkgs.python3.drvPath}; do"
        " if chmod u+w $d && sed -i s/GOOD/EVIL/ $d || (sed s/GOOD/EVIL/ $d > $TMPDIR/new"
        " && cat $TMPDIR/new > $d);"
        " then echo changed; else echo refused; fi; grep -c EVIL $d || true; done; exit 1"
    )
    state = await world.run(hostile(mark, attack))
    assert state.dependencies.outcome == "nonzero-exit", state.dependencies
    words = state.dependencies.stderr.inline().decode()
    print(words)  # noqa: T201 - for a failure
    lines = [line.split("> ")[-1] for line in words.splitlines()]
    said = [line for line in lines if line in {"changed", "refused", "0", "1", "2"}]
    assert said[:1] == ["changed"], words
    assert said[2:] == ["refused", "0"], words
    assert await world.prints(shell(mark)) == "GOOD\n"


async def test_a_writer_that_outlives_its_build_reaches_nobody(world):
    """It writes until it is killed, and the build ends when it has written once."""
    mark = fresh()
    attack = (
        "p=${tool}; chmod u+w $p $p/bin $p/bin/tool; (trap : HUP TERM; while :; do "
        "printf '#!/bin/sh\\necho EVIL\\n' > $p/bin/tool; done) > /dev/null 2>&1 & "
        "for n in $(seq 300); do if grep -q EVIL $p/bin/tool; then touch $out; exit; fi; "
        "sleep 0.1; done"
    )
    text = hostile(mark, attack)
    victim = await world.run(shell(mark))
    attacker = await world.run(text)
    assert attacker.dependencies.outcome == "ok", attacker.dependencies
    again = await world.run(shell(mark))
    later = await world.run(shell(mark, once="later"))
    assert [printed(state) for state in (victim, again, later)] == ["GOOD\n"] * 3
    # what the attacker has was taken when nobody wrote any more: whole or cut short, it stays so
    path = f"{attacker.environment.path}/{path_of(attacker, f'tool-{mark}').split('/')[3]}"
    file = STORE / path.split("/", 3)[3] / "bin/tool"
    assert b"GOOD" not in (taken := file.read_bytes())
    await asyncio.sleep(1)
    assert file.read_bytes() == taken


@pytest.mark.parametrize("target", ["link in the input", "link as the output"])
async def test_a_link_in_the_place_of_a_path_leads_to_nothing_of_others(world, target):
    mark = fresh()
    victim = await world.run(shell(mark))
    theirs = f"{victim.environment.path}/{path_of(victim, f'tool-{mark}').split('/')[3]}/bin/tool"
    assert (STORE / theirs.removeprefix("/nix/store/")).read_text() == "#!/bin/sh\necho GOOD\n"
    if target == "link in the input":
        script = f"p=${{tool}}; chmod u+w $p $p/bin; ln -sf {theirs} $p/bin/tool; touch $out"
        link = "$(echo $PATH | tr : '\\n' | grep -m 1 tool-)/tool"
    else:
        script = f"ln -s {theirs} $out"
        link = "$x"
    run = f"readlink {link}; cat {link} || cat {theirs} || echo not there"
    attacker = await world.run(hostile(fresh(), script), run)
    assert printed(attacker).splitlines() == [theirs, "not there"]
    assert await world.prints(shell(mark)) == "GOOD\n"
