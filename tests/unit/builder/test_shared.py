"""The locks between builders, workers and the collector of one store."""

from __future__ import annotations

import asyncio
import fcntl

import pytest

from builder.shared import Shared


@pytest.fixture
def store(tmp_path):
    (tmp_path / "var/nix").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def shared(store):
    made = Shared(store)
    made.make()
    return made


async def test_nobody_collects_while_a_job_runs(shared):
    async with shared.used(), shared.unused(0.1) as nobody:
        assert not nobody
    async with shared.unused(0.1) as nobody:
        assert nobody


async def test_jobs_run_side_by_side(shared):
    async with shared.used(), Shared.used(shared):
        pass


async def test_a_client_of_a_daemon_gets_no_collection_while_a_job_runs(shared, store):
    async with shared.used():
        with (store / "var/nix/gc.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_worker_stops_a_collection_with_one_lock(shared, store):
    with (store / "var/sandstream/in-use").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        async with shared.unused(0.1) as nobody:
            assert not nobody


async def test_a_new_job_comes_after_a_collector_that_waits(shared):
    order = []

    async def collect():
        async with shared.unused(5) as nobody:
            assert nobody
            order.append("collected")

    async def job():
        async with shared.used():
            order.append("job")

    async with shared.used():
        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0.1)
        running = asyncio.create_task(job())
        await asyncio.sleep(0.2)
        assert order == []
    await asyncio.gather(collecting, running)
    assert order == ["collected", "job"]


async def test_one_alone_has_the_lease_and_the_other_is_told_when_it_builds(shared, store):
    told = []
    beside = Shared(store)  # another builder's
    async with shared.lease("e", lambda _: told.append("first")), shared.building("other"):
        second = asyncio.create_task(beside.lease("e", told.append).__aenter__())
        async with shared.lease("other", lambda _: told.append("other")):
            pass
        await asyncio.sleep(0.2)
        assert not second.done()
        assert set(told) == {"waits"}
        async with shared.building("e"), asyncio.timeout(10):
            while "builds" not in told:
                await asyncio.sleep(0.01)
    await asyncio.wait_for(second, 10)
    assert set(told) == {"waits", "builds"}


async def test_who_gives_up_waiting_leaves_no_lock(shared):
    async with shared.lease("e", lambda _: None):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), shared.lease("e", lambda _: None):
                pass
    async with asyncio.timeout(10), shared.lease("e", lambda _: None):
        pass


async def test_what_killed_builds_left_is_only_cleared_while_no_job_runs(shared):
    async with shared.used():
        with shared.no_job() as nobody:
            assert not nobody
    with shared.no_job() as nobody:
        assert nobody


async def test_a_lease_is_one_environments_however_much_the_ids_resemble(shared):
    told = []
    async with (
        asyncio.timeout(10),
        shared.lease("abcd" + "0" * 28, told.append),
        shared.lease("abcd" + "1" * 28, told.append),
    ):
        pass
    assert told == []


async def test_a_start_removes_the_files_of_leases_that_nobody_has(shared, store):
    leases = store / "var/sandstream/leases"
    async with shared.lease("free", lambda _: None):
        pass
    async with shared.lease("had", lambda _: None), shared.building("had"):
        Shared(store).make()
        assert sorted(file.name for file in leases.iterdir()) == ["had", "had.building"]
    Shared(store).make()
    assert list(leases.iterdir()) == []
