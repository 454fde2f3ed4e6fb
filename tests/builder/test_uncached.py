"""A shell built in the submission's own container, over the host's store, leaving nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from init.frames import Broken, Case, DependenciesDone, End, Job, JobFile, RunDone
from init.limits import Stage, defaults
from tests.builder.conftest import STATE, running, stack_of
from tests.builder.hosts import Host, ask, ended
from tests.builder.test_shells import derivation
from tests.builder.test_shells import shell as build_shell
from tests.builder.test_trees import HIDDEN
from tests.sandbox import harness
from tests.worker.conftest import until
from worker.store import snapshot

pytestmark = pytest.mark.integration
SHELL = (
    '{ pkgs ? import <nixpkgs> {} }: pkgs.mkShell { packages = [ pkgs.python3 ]; ONCE = "%s"; %s }'
)


@dataclass
class Uncached(harness.Sandbox):
    """Adds what an uncached submission's container has: the channel and a scratch folder."""

    scratch: Path = Path("/nonexistent")
    snapshots: bool = True

    def create_argv(self, uid):
        argv = super().create_argv(uid)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(mode=0o700)
        shutil.chown(self.scratch, uid, uid)
        if self.snapshots:
            snapshot(STATE, self.scratch, uid)
        at = argv.index("--entrypoint")
        more = ["--volume", f"{STATE}/channel:/channel:ro", "--volume", f"{self.scratch}:/scratch"]
        return argv[:at] + more + argv[at:]

    def submit(self, shell, run="python3 -c 'print(6 * 7)'", **limits):
        files = {"shell.nix": shell, "run.sh": run, "secret.txt": "not the shell's"}
        every = {stage: defaults(stage) for stage in Stage}
        every[Stage.DEPENDENCIES] = harness.with_limits(Stage.DEPENDENCIES, limits)
        return self.perform(
            Job(
                submission_id="test",
                attempt=1,
                files=tuple(JobFile(name, text.encode()) for name, text in files.items()),
                cases=(Case(),),
                limits=every,
            )
        )


@pytest.fixture
def uncached(images, tmp_path):
    scratch = STATE / f"scratch-test-{os.getpid()}"
    folder = tmp_path / "sandbox"
    folder.mkdir()
    yield Uncached(
        image=images["base"],
        store=STATE / "nix" / "store",
        code=harness.code(folder, images["base"]),
        folder=folder,
        scratch=scratch,
    )
    shutil.rmtree(scratch, ignore_errors=True)


def dependencies(answer):
    found = [frame for frame in answer.frames if isinstance(frame, DependenciesDone)]
    assert found, (answer.frames, answer.errors)
    return found[0]


STORE = STATE / "nix/store"


def traces(mark, before):
    """What has come into the shared store and holds a shell's mark: others build there too."""
    found = []
    for new in set(STORE.iterdir()) - before:
        for path in (new, *new.rglob("*")):
            with suppress(OSError):  # a folder, or gone again
                if mark.encode() in path.read_bytes():
                    found.append(path)
    return found


def test_a_shell_is_built_runs_and_leaves_nothing_in_the_hosts_store(uncached):
    mark = uuid.uuid4().hex
    before = set(STORE.iterdir())
    answer = uncached.submit(SHELL % (mark, ""))
    done = dependencies(answer)
    assert done.report.outcome == "ok", done.report
    assert answer.frames[-1] == End(), answer
    (run,) = (frame for frame in answer.frames if isinstance(frame, RunDone))
    assert run.report.stdout == b"42\n", run.report
    assert traces(mark, before) == []


async def test_an_environment_of_a_builder_runs_as_it_is(builder, uncached):
    """What `deps-built` carries is all that a container needs to run in it."""
    mark, before = uuid.uuid4().hex, set(STORE.iterdir())
    environment = (
        await builder.build(SHELL % (mark, 'shellHook = "export HOOK=ran";'))
    ).environment
    # a builder's build does leave some, all of it inside of the environment
    found = traces(mark, before)
    assert {path.relative_to(STORE).parts[0] for path in found} == {Path(environment.path).name}
    answer = uncached.run(
        "python3 -c \"import os; print(os.environ['ONCE'])\"; echo $HOOK; ls /nix/store | wc -l",
        closure=environment.closure,
        profile=environment.profile.inline(),
        environment=environment.path,
    )
    once, hook, visible = answer.run.stdout.decode().splitlines()
    assert (once, hook) == (mark, "ran")
    assert int(visible) == len(environment.closure)


@pytest.fixture
def of_another(images):
    """An environment of somebody else, as it lies in the store."""
    name = f"environment-{uuid.uuid4().hex * 2}"
    root = f"/nix/var/nix/gcroots/{name}"
    add = (
        f"mkdir /tmp/{name}; echo not yours > /tmp/{name}/secret;"
        f" path=$(nix-store --add /tmp/{name}); ln -s $path {root}; echo $path"
    )
    path = ask(images["builder"], STATE / "nix", add).strip()
    yield path
    ask(images["builder"], STATE / "nix", f"rm {root}; nix-store --delete --quiet {path} || true")


@pytest.mark.parametrize(
    "more",
    [
        'packages = [ (builtins.storePath "%s") ];',
        'OUT = pkgs.runCommand "x" { } "cat ${builtins.storePath "%s"}/secret > $out";',
    ],
)
def test_no_evaluation_reads_the_environment_of_another(uncached, of_another, more):
    (STORE / Path(of_another).name / "secret").read_text()  # it is there
    more = more % of_another
    shell = f"{{ pkgs ? import <nixpkgs> {{}} }}: pkgs.mkShell {{ {more} }}"
    report = dependencies(uncached.submit(shell)).report
    assert report.outcome == "nonzero-exit", report
    assert of_another.encode() in report.stderr
    assert b"not yours" not in report.stdout + report.stderr


def test_without_a_snapshot_it_is_our_fault(uncached):
    uncached.snapshots = False
    answer = uncached.submit(SHELL % ("", ""))
    assert isinstance(answer.frames[-1], Broken)
    assert "snapshot" in answer.frames[-1].reason


def test_what_does_not_evaluate_is_a_result_with_its_words(uncached):
    done = dependencies(uncached.submit("{ pkgs ? import <nixpkgs> {} }: pkgs.nope"))
    assert done.report.outcome == "nonzero-exit"
    assert done.environment is None
    assert b"nope" in done.report.stderr


def test_a_shell_can_not_read_the_submissions_other_files(uncached):
    done = dependencies(uncached.submit(SHELL % ("", "x = builtins.readFile ./secret.txt;")))
    assert done.report.outcome == "nonzero-exit"


def test_a_disk_eating_build_meets_its_limit(uncached):
    eat = 'x = pkgs.runCommand "eat%s" {} "head -c 300000000 /dev/zero > $out; sleep 5";'
    done = dependencies(
        uncached.submit(SHELL % ("", eat % uuid.uuid4().hex), disk_bytes=100_000_000)
    )
    assert done.report.outcome == "disk-limit", done.report


@pytest.mark.parametrize("way", HIDDEN)
def test_disk_that_a_build_hides_meets_its_limit(uncached, way):
    text = SHELL % ("", derivation(HIDDEN[way] + "; sleep 60"))
    done = dependencies(uncached.submit(text, disk_bytes=50_000_000))
    assert done.report.outcome == "disk-limit", done.report


def everything(host, stack):
    """Every file of a host's state with its size, what its store says is valid, and the volumes.

    But for what a database and a log are by nature: their size is not told.
    """
    files = {
        str(path.relative_to(host.folder)): path.lstat().st_size if _plain(path) else None
        for path in host.folder.rglob("*")
    }
    argv = ["docker", "volume", "ls", "--quiet"]
    volumes = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    label = f"label=sandstream.instance={stack.instance}"
    argv = ["docker", "ps", "--all", "--quiet", "--filter", label]
    containers = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return files, host.valid(), volumes, containers


def _plain(path):
    return path.is_symlink() or (path.is_file() and "/db/" not in str(path))


async def test_uncached_submissions_leave_store_cache_catalogue_and_volumes_as_they_were(
    nats, images, tmp_path, worker_on
):
    """They may use what is cached: the first of them is the very shell that a builder built."""
    host = Host(tmp_path / "host", images["builder"]).fill(images["built"])
    stack = stack_of(
        nats, images, state=host.folder, environment={"SANDSTREAM_PUBLISH_TO": "file:///cache"}
    )
    known = build_shell(derivation("echo here > $out"))
    new = build_shell(derivation("echo here > $out"))
    run = {"run.sh": 'cat "$x"'}
    async with running(nats, stack) as builder:
        first = (await builder.build(known)).environment
        for _ in range(400):
            if (stack.cache / f"{first.path.split('/')[3][:32]}.narinfo").exists():
                break
            await asyncio.sleep(0.05)
        async with worker_on(host, storekeeper=None) as worker:
            before = everything(host, stack)
            assert any(name.endswith(f"environments/{first.id}.json") for name in before[0])
            for text in (known, new):
                id_ = await builder.submit(text, files=run, cache=False)
                state = await ended(builder, id_)
                assert (state.how, state.runs[0].stdout.data) == ("in-container", "here\n"), state
                assert [moment.event for moment in state.timeline] == [
                    "submitted", "started", "deps-built", "ran", "finished",
                ]  # fmt: skip
            await until(lambda: worker_rests(worker))
            after = everything(host, stack)
            named = f"{worker.folder.relative_to(host.folder)}/scratch/"
            changed = {
                name
                for name in before[0].keys() | after[0].keys()
                if before[0].get(name, "-") != after[0].get(name, "-") and named not in name
            }
            assert changed == {str(worker.log.relative_to(host.folder))}
            assert before[1:] == after[1:]
        assert not await builder.said("ERROR")


def worker_rests(worker):
    """Only warm containers are left, each with its empty scratch folder."""
    folders = list((worker.folder / "scratch").iterdir())
    return len(folders) == 2 and not any(any(one.iterdir()) for one in folders)
