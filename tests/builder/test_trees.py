"""Trees that builds leave or hide: they stop nobody, and they count against `disk_bytes`."""

from __future__ import annotations

import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from init import folders
from tests.builder.conftest import running, stack_of
from tests.builder.daemons import keepers, members
from tests.builder.hosts import Host
from tests.builder.test_attacks import still_works
from tests.builder.test_shells import derivation, shell
from tests.worker.conftest import until

pytestmark = pytest.mark.integration
DISK = {"disk_bytes": 50_000_000}
HOLD = "; echo made; sleep 60"


@pytest.fixture(scope="module")
def host(images, tmp_path_factory):
    """A store of its own: what these builds leave is no other test's to find."""
    folder = tmp_path_factory.mktemp("trees")
    yield Host(folder / "host", images["builder"]).fill(images["built"])
    folders.remove(str(folder))  # pytest would do so by recursion, after its third next run


@pytest_asyncio.fixture
async def builder(nats, images, host):
    async with running(nats, stack_of(nats, images, state=host.folder)) as made:
        yield made


def python(program):
    """A derivation's script that runs this, in the folder of its output."""
    return f"mkdir $out; cd $out; ${{pkgs.python3}}/bin/python3 -c '{program}'"


def deep(name, levels, size=0):
    return python(
        f'import os; [(os.mkdir("{name}"), os.chdir("{name}")) for _ in range({levels})]; '
        f'open("file", "wb").write(bytes({size}))'
    )


@pytest.mark.parametrize(("name", "levels"), [("x" * 200, 25), ("d", 1500)])
async def test_a_killed_builds_deep_tree_stops_no_build_and_no_start(builder, host, name, levels):
    endless = shell(derivation(f"{deep(name, levels)}; while :; do :; done"))
    state = await builder.built(await builder.submit(endless, cpu_seconds=4), within=180)
    assert state.dependencies.outcome == "cpu-time-limit", state.dependencies
    assert roots(host)
    await still_works(builder)
    assert not roots(host)
    await until(lambda: not any((host.folder / "nix/var/sandstream/removing").iterdir()))
    # the same in the scratch folder of a builder that is killed itself
    left = f"cd $TMPDIR; out=$TMPDIR/o; {deep(name, levels)}; touch $TMPDIR/made; sleep 60"
    id_ = await builder.submit(shell(derivation(left)))
    scratch = builder.stack.own / "scratch"
    await until(lambda: list(scratch.glob("*/*/made")) or list(scratch.glob("*/*/*/made")))
    await builder.pair.builder.kill()
    await builder.cancel(id_)
    async with builder.restart() as again:
        await still_works(again)
        assert not roots(host)
        await until(lambda: not any((builder.stack.own / "removing").iterdir()))


def roots(host):
    return list(host.store.glob("*.drv.chroot"))


HIDDEN = {
    "folder that can not be read": "mkdir $out; head -c 60000000 /dev/zero >$out/f; chmod 300 $out",
    "file without a name": "cd $TMPDIR; exec 3>f; rm f; head -c 60000000 /dev/zero >&3",
    "below a long path": deep("x" * 200, 25, 60_000_000),
    "folders and empty files": python(
        'import os; [(os.mkdir(f"d{n}"), open(f"f{n}", "w").close()) for n in range(8000)]'
    ),
    "names of one file": python(
        'import os; open("0", "w").close(); '
        '[(os.mkdir(str(d)), os.link("0", f"{d}/0"), '
        'open(f"{d}/1", "w").close(), [os.link(f"{d}/1", f"{d}/x{n}") for n in range(12000)]) '
        "for d in range(1, 6)]"
    ),
}


@pytest.mark.parametrize("way", HIDDEN)
async def test_hidden_disk_meets_the_limit(builder, way):
    state = await builder.build(shell(derivation(HIDDEN[way] + HOLD)), **DISK, cpu_seconds=60)
    assert state.dependencies.outcome == "disk-limit", state.dependencies


async def test_what_an_evaluation_copies_into_the_store_meets_the_limit(builder):
    """300 MiB: a part of it passes for the database's."""
    big = 'builtins.concatStringsSep "" (builtins.genList (_: "0123456789abcdef") 65536)'
    files = f'map (n: builtins.toFile "x" "{uuid.uuid4().hex}${{toString n}}${{big}}")'
    text = (
        f"x = let big = {big}; in builtins.deepSeq ({files} (builtins.genList (n: n) 300)) "
        f'(pkgs.runCommand "x-{uuid.uuid4().hex}" {{}} "sleep 60");'
    )
    state = await builder.build(shell(text), **DISK)
    assert state.dependencies.outcome == "disk-limit", state.dependencies


async def test_a_modest_build_below_the_limit_is_built(builder):
    modest = python('[open(f"f{n}", "w").close() for n in range(2000)]')
    state = await builder.build(shell(derivation(modest + "; sleep 4")), **DISK)
    assert state.dependencies.outcome == "ok", state.dependencies


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.lease(60)
async def test_nothing_lives_on_of_a_job_whose_keeper_hangs_or_is_killed(builder, number):
    id_ = await builder.submit(shell(derivation("sleep 1000 & sleep 1000")))
    (keeper,) = await until(lambda: keepers(builder.pair.builder.id))
    job = await until(lambda: named(members(keeper), "sleep") and members(keeper))
    assert keeper > 0
    os.kill(keeper, number)
    await builder.cancel(id_)  # one that hangs does not hear that it is to end
    await until(lambda: not alive(keeper), 60)
    await until(lambda: not any(map(alive, job)))
    await until(lambda: not any(builder.jobs.iterdir()))
    assert await builder.said("its keeper died; ended what it had kept") == 1
    await still_works(builder)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def named(pids, name):
    with suppress(OSError):
        return name in {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
    return False
