"""What the trusted side built without enough room is removed again, however its job ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from builder import decide, provide
from builder.errors import DaemonFailed, StoreFailed
from builder.jobs import Places
from builder.provide import Provider, Trusted
from init.frames import Delegated, Planned, Report
from init.outcome import Outcome

DRV = f"/nix/store/{'0' * 32}-bash.drv"
OUT = f"/nix/store/{'1' * 32}-bash"
WELL = Report(Outcome.CANCELLED, None, None, 1.0, 1.0, 1)


class Bench:
    """A provider whose store, daemon and client are what this says."""

    def __init__(self, tmp_path, monkeypatch):
        self.valid = False
        self.full = ""
        self.report = WELL
        self.fails = False
        self.deleted = []
        self.built = 0
        self.go = asyncio.Event()
        self.go.set()
        places = Places(tmp_path / "run", tmp_path / "state", tmp_path / "cgroups")
        places.clear(set())
        limits = decide.operators(60)
        self.provider = Provider(
            Trusted(places, tmp_path, Delegated(1, {}), frozenset({DRV}), limits)
        )

        async def run(argv, **_):
            if argv[1] == "--delete":
                self.deleted += argv[2:]
                self.valid = False
                return
            self.built += 1
            self.valid = True  # it is registered, whatever becomes of the job
            await self.go.wait()
            if self.fails:
                raise StoreFailed(argv, 1, "no")

        async def ready(*_):
            return

        @asynccontextmanager
        async def keeper(told):
            yield SimpleNamespace(report=asyncio.get_running_loop().create_future(), stop=self.stop)

        monkeypatch.setattr(provide, "keeper", keeper)
        monkeypatch.setattr(provide, "_ready", ready)
        monkeypatch.setattr(provide, "_full", lambda _: self.full)
        monkeypatch.setattr(provide.nixstore, "run", run)
        monkeypatch.setattr(
            provide.nixstore, "outputs_of", lambda _, drvs: {d: [(OUT, self.valid)] for d in drvs}
        )
        monkeypatch.setattr(
            provide.nixstore,
            "valid_since",
            lambda _, paths: {path: 2**40 for path in paths if self.valid},
        )
        monkeypatch.setattr(provide.nixstore, "registration", lambda *_: b"registered")

    async def stop(self):
        return self.report

    async def provide(self):
        return await self.provider.provide(Planned((DRV, f"{DRV}x")))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


async def test_what_is_lacking_is_built_once_and_registered(bench):
    assert await bench.provide() == b"registered"
    assert await bench.provide() == b"registered"
    assert (bench.built, bench.deleted) == (1, [])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", ["an OOM kill", "a full disk"])
async def test_what_was_built_in_need_is_removed_though_the_job_ended_well_or_not(
    bench, kind, fails
):
    bench.fails = fails
    if kind == "a full disk":
        bench.full = kind
    else:
        bench.report = replace(WELL, starved=kind)
    with pytest.raises(DaemonFailed, match=kind):
        await bench.provide()
    assert bench.deleted == [OUT]


async def test_a_failure_without_need_keeps_what_was_built(bench):
    bench.fails = True
    with pytest.raises(StoreFailed):
        await bench.provide()
    assert bench.deleted == []


async def test_an_output_is_settled_only_when_its_job_was_looked_at(bench):
    bench.go.clear()
    building = asyncio.create_task(bench.provide())
    while not bench.valid:
        await asyncio.sleep(0.01)
    settling = asyncio.create_task(bench.provider.settled([OUT]))
    await bench.provider.settled(["/nix/store/another"])
    await asyncio.sleep(0.05)
    assert not settling.done()
    bench.go.set()
    await asyncio.wait_for(settling, 5)
    await building


async def test_thousands_of_paths_are_fetched_in_parts(bench, monkeypatch):
    fetched = []

    async def fetch(paths):
        fetched.append(len(paths))

    monkeypatch.setattr(bench.provider, "_fetch", fetch)
    bench.provider._with = replace(bench.provider._with, config="substituters = x")
    paths = tuple(f"/nix/store/{number:032d}-x" for number in range(1000))
    environment = f"/nix/store/{'2' * 32}-environment-x"  # nobody's to ask for
    await bench.provider.provide(Planned((), (*paths, environment)))
    assert fetched == [400, 400, 200]
