"""Each limit is met in a real container, and told by its own name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome

pytestmark = pytest.mark.integration


def test_stdout_flood_ends_with_stdout_limit_cut_exactly(sandbox):
    run = sandbox.run("yes", stdout_bytes=1000).run
    assert run.outcome == Outcome.STDOUT_LIMIT
    assert run.stdout == b"y\n" * 500
    assert run.stdout_total > 1000
    assert run.wall_seconds < 20


def test_stderr_flood_ends_with_stderr_limit(sandbox):
    run = sandbox.run("yes >&2", stderr_bytes=1001).run
    assert run.outcome == Outcome.STDERR_LIMIT
    assert len(run.stderr) == 1001


def test_exactly_the_limit_on_stdout_is_ok(sandbox):
    run = sandbox.run("head -c 1000000 /dev/zero", stdout_bytes=1000000).run
    assert run.outcome == Outcome.OK
    assert run.stdout == bytes(1000000)


def test_one_byte_above_the_limit_on_stdout_is_told(sandbox):
    run = sandbox.run("head -c 1001 /dev/zero", stdout_bytes=1000).run
    assert (run.outcome, len(run.stdout), run.stdout_total) == (Outcome.STDOUT_LIMIT, 1000, 1001)


def test_memory_hog_ends_with_memory_limit(sandbox):
    script = "python3 -c 'x = bytearray(400 << 20); print(len(x))'"
    run = sandbox.run(script, memory_bytes=64 * MIB).run
    assert run.outcome == Outcome.MEMORY_LIMIT
    assert 32 * MIB < run.memory_peak_bytes <= 64 * MIB
    assert run.stdout == b""


def test_memory_limit_is_told_at_once_though_the_parent_waits(sandbox):
    script = "python3 -c 'x = bytearray(400 << 20)' & sleep 60"
    run = sandbox.run(script, memory_bytes=64 * MIB).run
    assert run.outcome == Outcome.MEMORY_LIMIT
    assert run.wall_seconds < 20


def test_files_count_as_memory(sandbox):
    script = "dd if=/dev/zero of=big bs=1M count=100"
    run = sandbox.run(
        script, memory_bytes=32 * MIB, disk_bytes=200 * MIB, file_size_bytes=200 * MIB
    )
    assert run.run.outcome == Outcome.MEMORY_LIMIT


def test_fork_bomb_ends_with_process_limit_and_the_host_lives(sandbox):
    # two seconds without a fork of its own: it waits for none of them, however soon they are there
    script = "bomb() { bomb | bomb & }; bomb; while [ $SECONDS -lt 2 ]; do :; done; exit 1"
    run = sandbox.run(script, processes=30).run
    assert run.outcome == Outcome.PROCESS_LIMIT
    start = time.monotonic()
    assert sandbox.run("echo alive").run.stdout == b"alive\n"
    assert time.monotonic() - start < 20


def test_refused_fork_and_a_failed_end_is_process_limit(sandbox):
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; exit 1"
    assert sandbox.run(script, processes=4, wall_seconds=20).run.outcome == Outcome.PROCESS_LIMIT


def test_threads_count_as_processes(sandbox):
    script = (
        "exec python3 -c 'import threading, time\n"
        "for i in range(20): threading.Thread(target=time.sleep, args=(3,), daemon=True).start()'"
    )
    run = sandbox.run(script, processes=10).run
    assert run.outcome == Outcome.PROCESS_LIMIT, run


def test_as_many_processes_as_allowed_can_run(sandbox):
    # bash and three of its children are four
    run = sandbox.run("sleep 0.1 & sleep 0.1 & sleep 0.1 & wait", processes=4).run
    assert (run.outcome, run.stderr) == (Outcome.OK, b"")


def test_one_process_is_enough_for_the_script_itself(sandbox):
    run = sandbox.run("echo hi", processes=1).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"hi\n")


def test_sleep_ends_with_wall_time_limit(sandbox):
    run = sandbox.run("echo before; sleep 60", wall_seconds=5).run
    assert run.outcome == Outcome.WALL_TIME_LIMIT
    assert run.stdout == b"before\n"
    assert 5 <= run.wall_seconds < 15
    assert (run.exit_code, run.signal) == (None, "SIGKILL")


def test_busy_loop_ends_with_cpu_time_limit(sandbox):
    run = sandbox.run("while :; do :; done", cpu_seconds=0.5).run
    assert run.outcome == Outcome.CPU_TIME_LIMIT
    # what is used before the next look is 50 ms on each CPU; on a busy machine init looks later
    assert 0.5 <= run.cpu_seconds < 2


def test_cpu_time_of_all_processes_counts_together(sandbox):
    script = "for i in 1 2 3 4; do (while :; do :; done) & done; wait"
    run = sandbox.run(script, cpu_seconds=0.6).run
    assert run.outcome == Outcome.CPU_TIME_LIMIT
    assert 0.6 <= run.cpu_seconds < 2.4


def test_too_large_a_file_ends_with_file_size_limit(sandbox):
    run = sandbox.run("exec dd if=/dev/zero of=big bs=1000 count=100", file_size_bytes=50_000).run
    assert (run.outcome, run.signal, run.exit_code) == (Outcome.FILE_SIZE_LIMIT, "SIGXFSZ", 153)


def test_file_size_limit_is_exact_to_the_byte(sandbox):
    script = "dd if=/dev/zero of=big bs=1000 count=100; stat -c %s big"
    assert sandbox.run(script, file_size_bytes=50_001).run.stdout == b"50001\n"


def test_full_disk_ends_with_disk_limit(sandbox):
    script = "dd if=/dev/zero of=big bs=1M count=20"
    run = sandbox.run(script, disk_bytes=4 * MIB, file_size_bytes=100 * MIB).run
    assert run.outcome == Outcome.DISK_LIMIT
    assert b"No space left" in run.stderr


def test_work_home_tmp_and_shm_share_one_disk_limit(sandbox):
    script = (
        "for folder in /work $HOME /tmp /dev/shm; do"
        " dd if=/dev/zero of=$folder/f bs=1M count=2 2>/dev/null || exit; done"
    )
    assert sandbox.run(script, disk_bytes=4 * MIB).run.outcome == Outcome.DISK_LIMIT
    assert sandbox.run(script, disk_bytes=9 * MIB).run.outcome == Outcome.OK


def test_flood_of_empty_files_ends_with_disk_limit(sandbox):
    script = "i=0; while : >f$i; do i=$((i + 1)); done; exit 1"
    run = sandbox.run(script, disk_bytes=MIB).run
    assert run.outcome == Outcome.DISK_LIMIT
    assert b"No space left" in run.stderr


def test_open_files_are_limited(sandbox):
    script = "exec python3 -c 'f = [open(\"/dev/null\") for _ in range(100)]'"
    run = sandbox.run(script, open_files=64).run
    assert run.outcome == Outcome.NONZERO_EXIT
    assert b"Too many open files" in run.stderr


def test_compile_has_limits_of_its_own_and_no_run_follows_its_failure(sandbox):
    answer = sandbox.run("echo no", compile_script="sleep 60", compile_limits={"wall_seconds": 0.3})
    assert answer.compiled.outcome == Outcome.WALL_TIME_LIMIT
    assert answer.runs == []


def test_files_that_do_not_fit_are_a_disk_limit_of_compile(sandbox):
    answer = sandbox.run(
        "echo no",
        files={"data": bytes(3 * MIB)},
        compile_script="echo no",
        compile_limits={"disk_bytes": 2 * MIB},
    )
    assert answer.compiled.outcome == Outcome.DISK_LIMIT


def test_what_was_given_does_not_count_against_disk_bytes(sandbox):
    script = "dd if=/dev/zero of=more bs=1M count=3"
    big = {"data": os.urandom(3 * MIB)}
    assert sandbox.run(script, files=big, disk_bytes=4 * MIB).run.outcome == Outcome.OK
    script = "dd if=/dev/zero of=more bs=1M count=5"
    assert sandbox.run(script, files=big, disk_bytes=4 * MIB).run.outcome == Outcome.DISK_LIMIT


def test_two_megabytes_of_ignored_stdin_block_nobody(sandbox):
    run = sandbox.run("echo done", Case(stdin=os.urandom(2 * MIB))).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"done\n")


def test_large_stdin_comes_back_whole(sandbox):
    data = os.urandom(8 * MIB)
    run = sandbox.run("exec cat", Case(stdin=data), stdout_bytes=16 * MIB).run
    assert run.stdout == data


def test_figures_are_read_and_not_zero(sandbox):
    run = sandbox.run("python3 -c 'x = bytearray(50 << 20); sum(range(1000000))'").run
    assert run.outcome == Outcome.OK
    assert 50 * MIB < run.memory_peak_bytes < 90 * MIB
    assert 0.02 < run.cpu_seconds < 3


def test_no_cgroup_of_the_container_is_left_on_the_host(sandbox):
    with sandbox.container() as (process, _):
        folders = process.delegated.folders
        assert all(Path("/sys/fs/cgroup", folder).is_dir() for folder in folders.values())
    assert not any(Path("/sys/fs/cgroup", folder).exists() for folder in folders.values())


@pytest.mark.parametrize(
    ("limit", "value", "outcomes"),
    [
        ("wall_seconds", 0.001, {Outcome.WALL_TIME_LIMIT}),
        ("cpu_seconds", 0.001, {Outcome.CPU_TIME_LIMIT}),
        ("memory_bytes", 4096, {Outcome.MEMORY_LIMIT}),
        ("memory_bytes", MIB, {Outcome.MEMORY_LIMIT}),
        ("processes", 0, {Outcome.PROCESS_LIMIT}),
        ("stdout_bytes", 0, {Outcome.STDOUT_LIMIT}),
        ("stderr_bytes", 0, {Outcome.STDERR_LIMIT}),
        ("file_size_bytes", 0, {Outcome.FILE_SIZE_LIMIT}),
        ("open_files", 1, {Outcome.NONZERO_EXIT}),
        ("open_files", 15, {Outcome.NONZERO_EXIT}),
        ("open_files", 16, {Outcome.OK}),
        ("disk_bytes", 0, {Outcome.DISK_LIMIT}),
    ],
)
def test_tiniest_limit_is_told_and_breaks_nothing(sandbox, limit, value, outcomes):
    script = "echo out; echo err >&2; dd if=/dev/zero of=f bs=10000 count=1 2>/dev/null || exit"
    run = sandbox.run(script, **{limit: value}).run
    assert run.outcome in outcomes, run
