"""Trees that builds leave or hide: they stop nobody, and they count against `disk_bytes`."""

from __future__ import annotations

import uuid

import pytest
import pytest_asyncio

from init import folders
from tests.builder.boxes import building, jobs, pool_of, used
from tests.builder.conftest import running, stack_of
from tests.builder.hosts import Host
from tests.builder.test_attacks import still_works
from tests.builder.test_shells import derivation, shell
from tests.killing import kill
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
    await still_works(builder)
    await until(lambda: not jobs(builder), 120)
    # the same in the container of a pool that is killed itself
    left = f"cd $TMPDIR; out=$TMPDIR/o; {deep(name, levels)}; sleep 1000"
    id_ = await builder.submit(shell(derivation(left)))
    await until(lambda: building(pool_of(builder), "sleep"), 120)
    kill(builder.pair.pool.pid)
    await builder.cancel(id_)
    async with builder.restart() as again:
        await still_works(again)
        await until(lambda: not used(host.folder), 120)


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
