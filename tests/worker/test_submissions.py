"""Submissions from their first event to their last, through a real worker."""

from __future__ import annotations

import asyncio
import signal
from uuid import uuid4

import pytest

from init.outcome import Outcome
from tests.killing import kill
from tests.worker.conftest import case, cgroups_of, until

pytestmark = pytest.mark.integration

SHELL = """
{ pkgs ? import <nixpkgs> {} }:
pkgs.mkShell { packages = [ pkgs.python3 ]; PLACE = "PLACE"; }
"""


async def test_cached_submission_produces_its_events_in_order_with_verdicts(worker_at, client):
    async with worker_at():
        id_ = await client.submit(
            compile_="echo compiled; echo 'cat; echo \"$1\"' > program.sh",
            run='. ./program.sh "$1"',
            cases=(
                case("one\n", "one\nx\n", args=("x",)),
                case("two\n", "three\n"),
                case("four"),
            ),
        )
        state, names = await client.ended(id_)
    assert names == [
        "submitted", "deps-queued", "deps-built", "started", "compiled", "ran", "ran", "ran",
        "finished",
    ]  # fmt: skip
    assert state.compile.stdout.data == "compiled\n"
    assert [run.verdict for run in state.runs] == ["accepted", "wrong-answer", None]
    assert [run.stdout.data for run in state.runs] == ["one\nx\n", "two\n\n", "four\n"]
    assert state.runs[0].memory_peak_bytes > 0
    assert state.verdict == "wrong-answer"
    assert state.attempts == 1


async def test_cases_at_once_tell_the_same_story_as_one_by_one(worker_at, client):
    """The first ends last, the third fails: the log is in order and ends with the third."""
    begun = "date +%s.%N; sleep $1; date +%s.%N; [ $1 != 0.5 ]"
    times = ("2", "1", "0.5", "0.1", "0.1", "0.1")
    cases = tuple(case(args=(time,)) for time in times)
    stories = []
    for at_once in (1, 3):
        async with worker_at(cases_at_once=at_once):
            id_ = await client.submit(run=begun, cases=cases, stop_on_failure=True)
            state, names = await client.ended(id_)
            started = (await client.log.history(id_))[3]
        assert started.cases_at_once == at_once
        spans = [tuple(map(float, run.stdout.data.split())) for run in state.runs]
        stories.append((names, state.verdict, [(run.case, run.outcome) for run in state.runs]))
        assert (max(began for began, _ in spans) < min(ended for _, ended in spans)) is (
            at_once == 3
        ), spans
    assert stories[0] == stories[1]
    assert stories[0][1] == "nonzero-exit"
    assert len(stories[0][2]) == 3


async def test_failing_compile_is_a_compile_error_and_nothing_runs(worker_at, client):
    async with worker_at():
        id_ = await client.submit(compile_="echo broken >&2; exit 2")
        state, names = await client.ended(id_)
    assert names[-3:] == ["started", "compiled", "finished"]
    assert state.compile.outcome is Outcome.NONZERO_EXIT
    assert state.compile.stderr.data == "broken\n"
    assert state.verdict == "compile-error"


async def test_total_output_is_cut_and_the_cases_after_it_are_not_run(worker_at, client):
    async with worker_at():
        id_ = await client.submit(
            compile_="echo compiled",
            run="head -c $1 /dev/zero",
            cases=tuple(case(args=(size,), expected="x") for size in ("100", "5000", "1", "1")),
            total={"output_bytes": 1000},
        )
        state, names = await client.ended(id_)
    assert names[-5:] == ["ran"] * 4 + ["finished"]
    assert [run.stdout.size for run in state.runs] == [100, 1000 - len("compiled\n") - 100, 0, 0]
    assert [run.verdict for run in state.runs] == ["wrong-answer", *["stdout-limit"] * 3]
    assert all(run.message.startswith("not run: ") for run in state.runs[2:])
    assert state.attempts == 1


async def test_total_time_ends_a_run_and_the_submission(worker_at, client):
    async with worker_at():
        id_ = await client.submit(run="sleep 60", cases=(case(), case()), total={"wall_seconds": 1})
        state, _ = await client.ended(id_)
    assert state.verdict == "wall-time-limit"
    assert [run.outcome for run in state.runs] == [Outcome.WALL_TIME_LIMIT] * 2
    assert "limits.total.wall_seconds" in state.runs[0].message
    assert state.runs[1].message.startswith("not run: ")


async def test_infinite_loop_ends_with_wall_time_limit(worker_at, client):
    async with worker_at():
        id_ = await client.submit(run="while :; do sleep 0.1; done", wall_seconds=0.5)
        state, _ = await client.ended(id_)
    assert state.runs[0].outcome is Outcome.WALL_TIME_LIMIT
    assert state.verdict == "wall-time-limit"


async def test_output_above_the_inline_size_comes_back_whole(worker_at, client, nats):
    async with worker_at():
        id_ = await client.submit(run="head -c 900000 /dev/zero")
        state, _ = await client.ended(id_)
    assert state.runs[0].stdout.size == 900_000
    assert state.runs[0].stdout.sha256 is not None


async def test_failed_dependencies_finish_without_a_container(worker_at, client):
    async with worker_at():
        id_ = await client.submit(built="failed")
        state, names = await client.ended(id_)
    assert names == ["submitted", "deps-queued", "deps-built", "finished"]
    assert state.verdict == "dependencies-error"


async def test_cancel_while_running_stops_the_container(worker_at, client):
    async with worker_at() as worker:
        id_ = await client.submit(run="sleep 60", wall_seconds=60)
        history = await client.reached(id_, "started")
        container = history[-1].container
        await asyncio.sleep(0.3)
        await client.cancel(id_)
        state, names = await client.ended(id_, 20)
        await until(lambda: container not in str(worker.containers()))
    assert names[-3:] == ["started", "cancel-requested", "cancelled"]
    assert state.status == "cancelled"


async def test_cancel_before_anyone_runs_it_is_cancelled_at_once(worker_at, client):
    id_ = await client.submit(built=False)
    await client.cancel(id_)
    async with worker_at():
        _, names = await client.ended(id_, 30)
    assert names == ["submitted", "deps-queued", "cancel-requested", "cancelled"]


async def test_killed_init_is_another_attempt_and_then_a_result(worker_at, client):
    async with worker_at() as worker:
        id_ = await client.submit(run="sleep 1; echo done", cases=(case("", "done\n"),))
        history = await client.reached(id_, "started")
        pid = worker.container(history[-1].container)["State"]["Pid"]
        await asyncio.sleep(0.3)
        kill(pid)
        state, names = await client.ended(id_)
    assert names[-4:] == ["started", "started", "ran", "finished"]
    assert state.attempts == 2
    assert "exit code 137" in state.failures[0]
    assert state.verdict == "accepted"


async def test_container_that_always_dies_is_failed_with_every_reason(worker_at, client):
    async with worker_at(attempts=2) as worker:
        id_ = await client.submit(run="sleep 30", wall_seconds=60)
        for attempt in (1, 2):
            history = await client.reached(id_, "started", attempt)
            kill(worker.container(history[-1].container)["State"]["Pid"])
        state, names = await client.ended(id_)
    assert names[-3:] == ["started", "started", "failed"]
    assert len(state.failures) == 2


async def test_killed_worker_is_succeeded_by_another_after_the_lease(worker_at, client):
    async with worker_at() as other:
        id_ = await client.submit(run="sleep 2; echo done", wall_seconds=20)
        history = await client.reached(id_, "started")
        assert history[-1].by == f"worker@{other.name}"
        # before the second one starts, which may take longer than the program
        other.process.send_signal(signal.SIGSTOP)
        try:
            async with worker_at():
                state, names = await client.ended(id_, 30)
                other.process.send_signal(signal.SIGCONT)
                await asyncio.sleep(3)
        finally:
            other.process.send_signal(signal.SIGCONT)
        assert await client.log.state(id_) == state
    assert names[-4:] == ["started", "started", "ran", "finished"]
    assert state.failures == (f"worker@{other.name} did not report within its lease",)


async def test_zombie_says_nothing_and_its_container_ends_though_its_program_goes_on(
    worker_at, client
):
    async with worker_at() as zombie:
        id_ = await client.submit(run="sleep 40", wall_seconds=60)
        container = (await client.reached(id_, "started"))[-1].container
        zombie.process.send_signal(signal.SIGSTOP)
        async with worker_at() as other:
            history = await client.reached(id_, "started", 2)
            assert history[-1].by == f"worker@{other.name}"
            zombie.process.send_signal(signal.SIGCONT)
            await until(lambda: container not in str(zombie.containers()), 20)
            assert await client.log.history(id_) == history
            assert history[-1].container in str(other.containers())
            await client.cancel(id_)
            _, names = await client.ended(id_, 30)
    assert names[-4:] == ["started", "started", "cancel-requested", "cancelled"]


async def test_without_a_builder_the_deadline_makes_a_worker_build(worker_at, client, real_state):
    async with worker_at(real_state, build_deadline_seconds=1):
        id_ = await client.submit(built=False, shell=SHELL, run="python3 -c 'print(6 * 7)'")
        state, names = await client.ended(id_, 120)
    assert names == [
        "submitted", "deps-queued", "started", "deps-built", "ran", "finished",
    ]  # fmt: skip
    assert state.how == "in-container"
    assert state.runs[0].stdout.data == "42\n"


async def test_uncached_submission_builds_in_its_container_and_adds_nothing(
    worker_at, client, real_state
):
    own = uuid4().hex
    before = set((real_state / "nix" / "store").iterdir())
    async with worker_at(real_state):
        id_ = await client.submit(
            cache=False,
            shell=SHELL.replace('"PLACE"', f'"{own}"'),
            run="python3 -c 'print(6 * 7)'",
            cases=(case("", "42"), case("", "42")),
        )
        state, names = await client.ended(id_, 120)
    assert names == ["submitted", "started", "deps-built", "ran", "ran", "finished"]
    assert state.verdict == "accepted", state
    added = set((real_state / "nix" / "store").iterdir()) - before  # others may be at work
    assert not [path for path in added if path.suffix == ".drv" and own in path.read_text()]


async def test_uncached_shell_that_cannot_be_built_is_a_dependencies_error(
    worker_at, client, real_state
):
    async with worker_at(real_state):
        id_ = await client.submit(cache=False, shell="throw ''no such shell''")
        state, names = await client.ended(id_, 120)
    assert names == ["submitted", "started", "deps-built", "finished"]
    assert state.verdict == "dependencies-error"
    assert "no such shell" in state.dependencies.stderr.data


async def test_worker_that_was_killed_cleans_up_at_its_next_start_and_nothing_of_anothers(
    worker_at,
):
    async with worker_at() as worker, worker_at() as other:
        await until(lambda: len(worker.containers()) == len(other.containers()) == 2)
        old = {container["Id"] for container in worker.containers()}
        others = {container["Id"] for container in other.containers()}
        folders = set((other.folder / "scratch").iterdir())
        assert all(cgroups_of(id_) for id_ in old)  # while they live: so we know where they are
        worker.process.kill()
        await asyncio.to_thread(worker.process.wait)
        assert len(worker.remains()) == 4
        worker.log.write_text("")
        await worker.start()
        await until(lambda: len(worker.containers()) == 2)
        assert not old & {container["Id"] for container in worker.containers()}
        assert "removed 2 containers of an earlier life" in worker.words()
        for id_ in old:
            assert cgroups_of(id_) == []
        # The other one's, on the same host, are as they were.
        assert {container["Id"] for container in other.containers()} == others
        assert set((other.folder / "scratch").iterdir()) == folders


async def test_worker_that_finds_no_log_still_stops_when_asked(worker_at, nats):
    async with worker_at(ready=False, nats_url="nats://127.0.0.1:1") as worker:
        await until(lambda: "Connect call failed" in worker.words())
        await asyncio.wait_for(worker.stop(), 10)  # 15 s, and it is killed


async def test_worker_without_an_engine_says_so_in_one_line(worker_at):
    async with worker_at(ready=False, docker_socket="/no/such/socket", ends_with=1) as worker:
        await asyncio.to_thread(worker.process.wait, 10)
        assert worker.words().startswith("worker: no Docker engine answers at /no/such/socket")
        assert "Traceback" not in worker.words()
