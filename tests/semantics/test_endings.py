"""Every outcome has a program that produces it, and every odd way to end is told as what it is."""

from __future__ import annotations

import hashlib
import signal
import time
from dataclasses import fields

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome

pytestmark = pytest.mark.integration

_PYTHON = "#!/usr/bin/env python3\n"
#: Who gives no handler to these is killed by them. SIGSTOP and its like only stop, and bash
#: ignores SIGQUIT.
_DEADLY = (
    "HUP", "INT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "XCPU", "VTALRM", "PROF", "IO", "PWR", "SYS",
)  # fmt: skip


def ends(sandbox, *programs, **limits):
    """(outcome, exit code, signal) of each program, all of them in one container."""
    files = {f"p{n}": text.encode() for n, text in enumerate(programs)}
    cases = [Case(args=(str(n),)) for n in range(len(programs))]
    # by the shell, or by what a program's own first line names
    script = "chmod +x p$1; if [ \"$(head -c 2 p$1)\" = '#!' ]; then exec ./p$1; fi; . ./p$1"
    # the clock is no other limit's business, however busy this machine is
    runs = sandbox.run(script, *cases, files=files, **{"wall_seconds": 60, **limits}).runs
    return [(run.outcome, run.exit_code, run.signal) for run in runs]


def test_every_outcome_of_a_run_has_a_program(sandbox):
    """Under one set of limits, in order of precedence."""
    programs = {
        Outcome.CPU_TIME_LIMIT: "while :; do :; done",
        Outcome.MEMORY_LIMIT: "exec python3 -c 'bytearray(200 << 20)'",
        Outcome.STDOUT_LIMIT: "exec yes",
        Outcome.STDERR_LIMIT: "exec yes >&2",
        Outcome.DISK_LIMIT: "for i in 1 2 3 4 5 6; do head -c 900000 /dev/zero >$i || exit; done",
        Outcome.FILE_SIZE_LIMIT: "exec dd if=/dev/zero of=a bs=1M count=2",
        Outcome.PROCESS_LIMIT: (
            "exec python3 -c 'import threading, time\n"
            "for i in range(30):\n"
            " threading.Thread(target=time.sleep, args=(9,), daemon=True).start()'"
        ),
        Outcome.SIGNALLED: "kill -SEGV $$",
        Outcome.NONZERO_EXIT: "exit 1",
        Outcome.OK: "exit 0",
    }  # fmt: skip
    told = ends(
        sandbox,
        *programs.values(),
        cpu_seconds=0.6,
        memory_bytes=64 * MIB,
        processes=16,
        disk_bytes=4 * MIB,
        file_size_bytes=MIB,
    )
    assert [outcome for outcome, _, _ in told] == list(programs)
    assert ends(sandbox, "sleep 60", wall_seconds=2) == [(Outcome.WALL_TIME_LIMIT, None, "SIGKILL")]
    others = {Outcome.SANDBOX_ERROR, Outcome.CANCELLED, Outcome.WALL_TIME_LIMIT}
    assert set(Outcome) - set(programs) == others


def test_every_deadly_signal_is_named_from_a_shell_and_from_its_child(sandbox):
    own = [f"kill -{name} $$" for name in _DEADLY]
    child = [f"bash -c 'kill -{name} $$'; exit $?" for name in _DEADLY]
    expected = [
        (Outcome.SIGNALLED, 128 + number, number.name)
        for number in (signal.Signals[f"SIG{name}"] for name in _DEADLY)
    ]
    told = ends(sandbox, *own, *child)
    assert told == expected * 2


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGQUIT", "SIGKILL", "SIGTERM"])
def test_program_without_a_shell_around_it_dies_by_its_signal(sandbox, name):
    script = _PYTHON + f"import os, signal\nos.kill(os.getpid(), signal.{name})"
    run = sandbox.run(script).run
    number = signal.Signals[name]
    assert (run.outcome, run.exit_code, run.signal) == (Outcome.SIGNALLED, 128 + number, name)


def test_exit_codes_are_what_the_program_said(sandbox):
    codes = (0, 1, 2, 42, 126, 127, 128, 255)
    told = ends(sandbox, *(f"exit {code}" for code in codes))
    assert [code for _, code, _ in told] == list(codes)
    assert {outcome for outcome, code, _ in told if code} == {Outcome.NONZERO_EXIT}
    assert {name for _, _, name in told} == {None}


def test_exit_code_that_names_a_signal_is_that_signal(sandbox):
    # a shell can't be told from its child; the code stays beside the name
    assert ends(sandbox, "exit 137", "exit 130") == [
        (Outcome.SIGNALLED, 137, "SIGKILL"),
        (Outcome.SIGNALLED, 130, "SIGINT"),
    ]


def test_odd_scripts(sandbox):
    cases = {
        "": (Outcome.OK, 0),
        "\n\n": (Outcome.OK, 0),
        "exit 3": (Outcome.NONZERO_EXIT, 3),  # no newline at its end
        "#!/no/such/interpreter\nexit 3\n": (Outcome.NONZERO_EXIT, 3),  # by the shell's bash
        "#!/bin/sh\nexit 4": (Outcome.NONZERO_EXIT, 4),
        "exec /no/such/program": (Outcome.NONZERO_EXIT, 127),
        "exec /tmp": (Outcome.NONZERO_EXIT, 126),
        "printf '#!/no/interpreter\\n' >x; chmod +x x; exec ./x": (Outcome.NONZERO_EXIT, 126),
        "echo >x; ./x": (Outcome.NONZERO_EXIT, 126),
        "#!": (Outcome.OK, 0),
        "# \x00 a byte of zero\nexit 5": (Outcome.NONZERO_EXIT, 126),  # bash calls it binary
    }
    told = {}
    for script in cases:
        run = sandbox.run(script).run
        told[script] = (run.outcome, run.exit_code)
    assert told == cases


def test_script_with_carriage_returns_fails_as_it_would_anywhere(sandbox):
    run = sandbox.run("echo one\r\ntrue\r\n").run
    assert run.stdout == b"one\r\n"
    assert (run.outcome, run.exit_code) == (Outcome.NONZERO_EXIT, 127)


def test_program_in_the_background_does_not_hold_the_stage_in_any_disguise(sandbox):
    daemon = (
        "import os, signal, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "for s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    told = ends(
        sandbox,
        "sleep 60 & exit 0",
        "trap '' HUP; sleep 60 >/dev/null 2>&1 & disown",
        "(trap '' TERM HUP INT; sleep 60) & exit 3",
        _PYTHON + daemon,
        _PYTHON + daemon.replace("os.setsid()", "os.setpgid(0, 0)"),
        # a stopped process is not forgotten either
        "sleep 60 & kill -STOP $!; exit 0",
    )
    assert [code for _, code, _ in told] == [0, 0, 3, 0, 0, 0]
    assert time.monotonic() - start < 30


def test_stopped_program_meets_the_clock(sandbox):
    assert ends(sandbox, "kill -STOP $$", wall_seconds=1) == [
        (Outcome.WALL_TIME_LIMIT, None, "SIGKILL")
    ]


def test_program_that_closes_all_its_descriptors_is_waited_for(sandbox):
    script = _PYTHON + "import os, time\nos.closerange(0, 256)\ntime.sleep(0.5)\nos._exit(9)"
    run = sandbox.run(script).run
    assert (run.outcome, run.exit_code) == (Outcome.NONZERO_EXIT, 9)
    assert run.wall_seconds >= 0.5


def test_pipe_hidden_in_a_socket_that_nobody_reads_holds_nothing(sandbox):
    """Its stdout in flight, in a circle of sockets: only the kernel's collector ends it."""
    script = _PYTHON + (
        "import array, os, socket\n"
        "a, b = socket.socketpair()\n"
        "def send(fds):\n"
        "    a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])\n"
        "send([1, 2, a.fileno(), b.fileno()])\n"
        "os.write(1, b'said')\n"
    )
    runs = sandbox.run(script, Case(), Case()).runs
    assert [(run.outcome, run.stdout) for run in runs] == [(Outcome.OK, b"said")] * 2


def test_a_gigabyte_on_stdout_ends_at_the_limit(sandbox):
    run = sandbox.run("exec head -c 1000000000 /dev/zero", stdout_bytes=MIB).run
    assert run.outcome == Outcome.STDOUT_LIMIT
    assert run.stdout == bytes(MIB)
    assert MIB < run.stdout_total < 16 * MIB


def test_sixteen_megabytes_come_back_byte_for_byte_on_both_streams(sandbox):
    script = _PYTHON + (
        "import hashlib, sys, threading\n"
        "def block(name, n): return hashlib.sha256(b'%s%d' % (name, n)).digest() * 2048\n"
        "def write(name, to):\n"
        "    for n in range(256): to.write(block(name, n))\n"
        "    to.flush()\n"
        "both = [threading.Thread(target=write, args=pair) for pair in\n"
        "        ((b'out', sys.stdout.buffer), (b'err', sys.stderr.buffer))]\n"
        "[t.start() for t in both]; [t.join() for t in both]\n"
    )
    run = sandbox.run(script, stdout_bytes=16 * MIB, stderr_bytes=16 * MIB, wall_seconds=30).run
    assert run.outcome == Outcome.OK, run.message

    def expected(name):
        blocks = (hashlib.sha256(b"%s%d" % (name, n)).digest() * 2048 for n in range(256))
        return hashlib.sha256(b"".join(blocks)).hexdigest()

    assert hashlib.sha256(run.stdout).hexdigest() == expected(b"out")
    assert hashlib.sha256(run.stderr).hexdigest() == expected(b"err")
    assert run.stdout_total == run.stderr_total == 16 * MIB


def test_output_written_just_before_the_end_is_not_lost(sandbox):
    script = "head -c 60000 /dev/zero; kill -9 $$"
    runs = sandbox.run(script, *[Case()] * 20).runs
    assert {len(run.stdout) for run in runs} == {60000}


def test_stdin_is_a_file_from_its_beginning(sandbox):
    """As `./program <input` has it: it can be mapped and sought, and asked for its size."""
    script = _PYTHON + (
        "import mmap, os, sys\n"
        "print(os.fstat(0).st_size, len(mmap.mmap(0, 0, prot=mmap.PROT_READ)))\n"
        "print(os.read(0, 3), os.lseek(0, 0, 0), os.read(0, 3))\n"
        "print(open('/dev/stdin', 'rb').read(3))\n"
    )
    small, large = sandbox.run(script, Case(stdin=b"abcdef"), Case(stdin=b"abc" * MIB)).runs
    assert small.stdout == b"6 6\nb'abc' 0 b'abc'\nb'abc'\n", small
    assert large.stdout.splitlines()[0] == b"3145728 3145728"


def test_stdin_that_is_closed_or_empty_ends_at_once(sandbox):
    told = ends(sandbox, "cat", "exec 0<&-; cat", "read x || exit 6")
    assert [code for _, code, _ in told] == [0, 1, 6]


def test_memory_is_counted_however_it_is_taken(sandbox):
    """Each takes 80 MiB of 64: anonymous, shared, by files in memory, and by many processes."""
    programs = (
        "exec python3 -c 'import mmap; m = mmap.mmap(-1, 80 << 20); m.write(bytes(80 << 20))'",
        (
            "exec python3 -c 'import mmap\nm = mmap.mmap(-1, 80 << 20)\n"
            "for i in range(0, 80 << 20, 4096): m[i] = 1'"
        ),
        (
            'exec python3 -c \'import os\nf = os.memfd_create("x")\n'
            "for i in range(80): os.write(f, bytes(1 << 20))'"
        ),
        "exec dd if=/dev/zero of=/dev/shm/x bs=1M count=80",
        "exec dd if=/dev/zero of=/tmp/x bs=1M count=80",
        (
            "for i in 1 2 3 4; do python3 -c 'import time; x = bytearray(20 << 20);"
            " time.sleep(20)' & done; wait"
        ),
        # pipes hold 64 KiB each, more by request; the kernel's memory is memory too
        (
            "exec python3 -c 'import fcntl, os\nheld = []\nfor i in range(100):\n"
            " r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20); held.append(r)\n"
            " os.write(w, bytes(1 << 20))'"
        ),
    )
    told = ends(
        sandbox, *programs, memory_bytes=64 * MIB, disk_bytes=200 * MIB, file_size_bytes=200 * MIB
    )
    assert [outcome for outcome, _, _ in told] == [Outcome.MEMORY_LIMIT] * len(programs)


def test_outer_walls_lack_of_memory_is_no_verdict(sandbox):
    """A stage that is killed below its own limit was killed by somebody else's."""

    class Small(type(sandbox)):
        def create_argv(self, uid):
            return ["256m" if word == "3g" else word for word in super().create_argv(uid)]

    small = Small(**{field.name: getattr(sandbox, field.name) for field in fields(sandbox)})
    run = small.run("exec python3 -c 'bytearray(600 << 20)'", memory_bytes=1024 * MIB).run
    assert run.outcome == Outcome.SANDBOX_ERROR, run
    assert "memory" in run.message


def test_disk_that_was_full_for_a_moment_is_seen(sandbox):
    """It tidies up before it fails, as a compiler does once its linker has ended.

    The kernel keeps no record of a refused write, so it is seen by looking, once whoever looks is
    given a CPU: with seven times more to do than there are CPUs, 20 ms were too short twice in
    sixty times.
    """
    script = _PYTHON + (
        "import os, time\n"
        "try:\n"
        "    with open('out', 'wb', 0) as f:\n"
        "        while f.write(bytes(1 << 16)) == 1 << 16: pass\n"
        "        f.write(bytes(1))\n"
        "except OSError: pass\n"
        "time.sleep(0.2); os.remove('out'); raise SystemExit(1)\n"
    )
    runs = sandbox.run(script, *[Case()] * 10, disk_bytes=16 * MIB).runs
    assert [run.outcome for run in runs] == [Outcome.DISK_LIMIT] * 10


def test_file_that_was_given_with_the_size_of_the_limit_is_no_evidence(sandbox):
    files = {"data": bytes(100_000)}
    run = sandbox.run("cat data >/dev/null; exit 1", files=files, file_size_bytes=100_000).run
    assert run.outcome == Outcome.NONZERO_EXIT


def test_cpu_limit_of_the_programs_own_is_a_signal(sandbox):
    told = ends(sandbox, "ulimit -St 1; while :; do :; done", cpu_seconds=8)
    assert told == [(Outcome.SIGNALLED, 128 + signal.SIGXCPU, "SIGXCPU")]


def test_vfork_and_spawn_and_threads_all_count_as_processes(sandbox):
    spawn = (
        "import os, sys\n"
        "held = []\n"
        "for i in range(20): held.append(os.posix_spawnp('sleep', ['sleep', '20'], os.environ))\n"
    )
    told = ends(
        sandbox,
        _PYTHON + spawn,
        _PYTHON + "import subprocess\n"
        "held = [subprocess.Popen(['sleep', '20']) for i in range(20)]\n",
        "i=0; while [ $i -lt 20 ]; do sleep 20 & i=$((i + 1)); done 2>/dev/null; exit 1",
        processes=10, wall_seconds=40,
    )  # fmt: skip
    assert [outcome for outcome, _, _ in told] == [Outcome.PROCESS_LIMIT] * 3


def test_refused_fork_that_the_program_survives_is_ok(sandbox):
    script = _PYTHON + (
        "import os, time\n"
        "refused = 0\n"
        "for i in range(20):\n"
        "    try: pid = os.fork()\n"
        "    except OSError: refused += 1; continue\n"
        "    if pid == 0: time.sleep(20); os._exit(0)\n"
        "print(refused)\n"
    )
    run = sandbox.run(script, processes=10).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"11\n")


def test_zombies_and_orphans_leave_no_trace_in_the_next_case(sandbox):
    script = _PYTHON + (
        "import os, time\n"
        "before = len([p for p in os.listdir('/proc') if p.isdigit()])\n"
        "for i in range(20):\n"
        "    if os.fork() == 0: os._exit(0)\n"
        "time.sleep(0.1)\n"
        "print(before)\n"
    )
    runs = sandbox.run(script, Case(), Case(), processes=40).runs
    assert {(run.outcome, run.stdout) for run in runs} == {(Outcome.OK, b"2\n")}
