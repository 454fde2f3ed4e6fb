"""What a program can read of the host that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox import store

pytestmark = pytest.mark.integration

_HIDDEN = ("cmdline", "diskstats", "partitions", "interrupts", "locks", "keys", "swaps")


def test_mount_table_names_no_folder_of_the_host(sandbox):
    run = sandbox.run("cat /proc/self/mountinfo /proc/mounts").run
    out = run.stdout.decode()
    assert f"/nix/store/{store.NAME}" in out
    assert str(sandbox.store) not in out
    assert str(sandbox.store.parent) not in out
    assert "/docker/" not in out
    assert "/dev/vda" not in out
    assert " ext4 " not in out


def test_kernels_command_line_and_devices_of_the_host_are_hidden(sandbox):
    there = [name for name in _HIDDEN if Path("/proc", name).exists()]
    assert Path("/proc/cmdline").read_bytes()
    run = sandbox.run("; ".join(f"cat /proc/{name}" for name in there)).run
    assert (run.stdout, run.stderr, run.exit_code) == (b"", b"", 0)
    run = sandbox.run("ls -A /proc/fs /proc/irq /proc/bus").run
    assert not [line for line in run.stdout.split(b"\n") if line and not line.endswith(b":")]


def test_what_is_hidden_can_not_be_written_or_uncovered(sandbox):
    run = sandbox.run(
        "touch /proc/fs/x; chmod 777 /proc/fs; umount /proc/cmdline; ls -A /proc/fs"
    ).run
    assert run.stdout == b""
    assert run.stderr.count(b"Read-only file system") == 2, run.stderr


def test_a_program_reads_its_processes_cpus_and_memory(sandbox):
    run = sandbox.run(
        "grep -c processor /proc/cpuinfo; grep MemTotal /proc/meminfo; head -n 1 /proc/stat;"
        " cat /proc/self/status /proc/loadavg /proc/uptime /proc/version >/dev/null"
    ).run
    assert (run.exit_code, run.stderr) == (0, b""), run
