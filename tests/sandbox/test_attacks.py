"""One named attack in each test: what it tries, and that it gets nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from init.frames import Broken, Case, End, Environment, Job, JobFile, Ready, RunDone
from init.limits import MIB, Stage, defaults
from init.outcome import Outcome
from init.wire import encode
from tests.sandbox import store
from tests.steps import program, told

pytestmark = pytest.mark.integration

#: 32 and 33: glibc keeps them to itself, so that no sigaction() of a program reaches them. Whoever
#: started the engine by posix_spawn may hand 32 down as ignored, and thread cancellation undoes it.
_OF_THE_C_LIBRARY = 1 << 31 | 1 << 32
_PYTHON = b"#!/usr/bin/env python3\n"
_SYSCALLS = b"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    return 'done' if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""


def python(text: str) -> bytes:
    return _PYTHON + _SYSCALLS + text.encode()


def steps(sandbox, codes: dict[str, str], *cases: Case, **more) -> dict[str, str]:
    """What became of each step of an attack in a jail: `done` or the errno that refused it."""
    run = sandbox.run(_PYTHON + program(codes).encode(), *cases, **more).run
    assert run.outcome == Outcome.OK, run
    return told(run.stdout)


#: What a program may write to: the control of every attack that writes.
_OWN = {f"own {place}": f"write('{place}/own')" for place in ("/work", "/tmp", "/dev/shm")}


def test_network_is_a_loopback_alone(sandbox):
    run = sandbox.run(
        python(
            "import socket\n"
            "print([name for _, name in socket.if_nameindex()])\n"
            "try: socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
            "except OSError as error: print(errno.errorcode[error.errno])\n"
        )
    ).run
    assert run.stdout == b"['lo']\nENETUNREACH\n"


def test_loopback_of_the_host_is_another(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address, timeout=5):
            server.accept()[0].close()  # it does listen
        run = sandbox.run(
            python(f"import socket\nsocket.create_connection({address}, timeout=1)")
        ).run
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert b"ConnectionRefused" in run.stderr


def test_store_paths_of_others_do_not_exist(sandbox):
    run = sandbox.run(f"ls /nix/store; cat /nix/store/{store.OTHER}/secret").run
    assert run.stdout.decode().split() == [store.NAME]
    assert b"No such file" in run.stderr


def test_nothing_but_scratch_can_be_written(sandbox):
    """Read-only, and not only somebody else's: modes alone would say EACCES or nothing at all."""
    paths = (
        f"{store.SHELL}/bin/new", "/nix/store/new", "/nix/new", "/etc/new", "/etc/passwd", "/new",
        "/bin/new", "/usr/new", "/dev/new", "/run/sandstream/new", "/run/sandstream/enter",
        "/run/sandstream/environment", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj",
    )  # fmt: skip
    found = steps(sandbox, {path: f"write({path!r})" for path in paths} | _OWN)
    assert found == dict.fromkeys(paths, "EROFS") | dict.fromkeys(_OWN, "done")


def test_store_can_not_be_changed_in_place(sandbox):
    """Of a path that its modes give to everybody, so that nothing but the mount is in the way."""
    ways = {
        "write": "write(place + '/file')",
        "append": "os.write(os.open(place + '/file', os.O_WRONLY | os.O_APPEND), b'x')",
        "truncate": "os.truncate(place + '/file', 0)",
        "create": "write(place + '/new')",
        "folder": "os.mkdir(place + '/folder')",
        "chmod": "os.chmod(place + '/file', 0o666)",
        "utime": "os.utime(place + '/file', (5, 5))",
        "attribute": "os.setxattr(place + '/file', 'user.x', b'1')",
        "symlink": "os.symlink('file', place + '/link')",
        "link": "os.link(place + '/file', place + '/hard')",
        "rename": "os.rename(place + '/file', place + '/other')",
        "remove": "os.remove(place + ('/other' if os.path.exists(place + '/other') else '/file'))",
    }
    own = {"make": "os.mkdir('/work/own'); write('/work/own/file')"}
    codes = own | {
        f"{where} {way}": f"place = {place!r}; {code}"
        for where, place in (("own", "/work/own"), ("store", f"{store.SHELL}/open"))
        for way, code in ways.items()
    }
    found = steps(sandbox, codes)
    # a tmpfs may not know such attributes; whatever it says, it is not the store's answer
    assert found.pop("own attribute") in {"done", "ENOTSUP"}
    assert found == dict.fromkeys(found, "EROFS") | {
        name: "done" for name in found if not name.startswith("store ")
    }
    assert sum(name.startswith("store ") for name in found) == len(ways)


def test_processes_of_others_are_invisible(sandbox):
    run = sandbox.run("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done").run
    reaper, script, *others = run.stdout.decode().splitlines()
    assert reaper.startswith("/run/sandstream/reaper -- ")
    assert script.strip() == f"{store.SHELL}/bin/bash /work/run.sh"
    assert others == []


def test_root_holds_only_what_is_named(sandbox):
    assert sandbox.run("ls -A /").run.stdout.split() == (
        b"bin dev etc home nix proc run tmp usr work".split()
    )


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("mount", "call(165, b'none', b'/tmp', b'tmpfs', 0, None)"),
        ("umount2", "call(166, b'/tmp', 2)"),
        ("unshare user", "call(272, 0x10000000)"),
        ("unshare user and mount", "call(272, 0x10020000)"),
        ("clone into a user namespace", "call(56, 0x10000000 | 17, 0, 0, 0, 0)"),
        ("setns", "call(308, 0, 0)"),
        ("chroot", "call(161, b'/tmp')"),
        ("pivot_root", "call(155, b'/tmp', b'/tmp')"),
        ("ptrace traceme", "call(101, 0, 0, 0, 0)"),
        ("process_vm_readv", "call(310, 1, 0, 0, 0, 0, 0)"),
        ("keyctl", "call(250, 0, 0, 0, 0, 0)"),
        ("add_key", "call(248, b'user', b'x', b'y', 1, -2)"),
        ("bpf", "call(321, 0, 0, 0)"),
        ("perf_event_open", "call(298, 0, 0, 0, 0, 0)"),
        ("userfaultfd", "call(323, 0)"),
        ("sethostname", "call(170, b'x', 1)"),
        ("fsopen", "call(430, b'tmpfs', 0)"),
        ("open_tree", "call(428, -100, b'/', 1)"),
        ("reboot", "call(169, 0, 0, 0, 0)"),
        ("init_module", "call(175, 0, 0, 0)"),
        ("kexec_load", "call(246, 0, 0, 0, 0)"),
        ("open_by_handle_at", "call(304, 0, 0, 0)"),
        ("vsock", "call(41, 40, 1, 0)"),
    ],
)
def test_call_is_refused(sandbox, name, call):
    run = sandbox.run(python(f"print({call})")).run
    assert run.stdout.strip() == b"EPERM", (name, run)


@pytest.mark.parametrize(("name", "number"), [("clone3", 435), ("io_uring_setup", 425)])
def test_call_does_not_exist(sandbox, name, number):
    assert sandbox.run(python(f"print(call({number}, 1, 0))")).run.stdout.strip() == b"ENOSYS"


def test_calls_of_the_32_bit_abi_kill(sandbox):
    # mov eax, 20 (getpid); int 0x80; ret
    run = sandbox.run(
        python(
            "import mmap\n"
            "m = mmap.mmap(-1, 4096, prot=7)\n"
            "m.write(bytes.fromhex('b814000000cd80c3'))\n"
            "at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
            "print(ctypes.CFUNCTYPE(ctypes.c_int)(at)())\n"
        )
    ).run
    assert (run.outcome, run.signal) == (Outcome.SIGNALLED, "SIGSYS")


def test_program_has_no_capability_and_can_gain_none(sandbox):
    run = sandbox.run("exec cat /proc/self/status").run
    status = dict(line.split(":", 1) for line in run.stdout.decode().splitlines())
    capabilities = {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert capabilities == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert int(status["SigIgn"], 16) & ~_OF_THE_C_LIBRARY == 0
    assert int(status["SigBlk"], 16) == 0
    assert int(status["Uid"].split()[0]) == 1000


def test_only_three_descriptors_are_inherited(sandbox):
    run = sandbox.run("exec ls /proc/self/fd").run
    assert run.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own


def test_reaper_knows_no_environment(sandbox):
    assert sandbox.run("wc -c </proc/1/environ").run.stdout.strip() == b"0"


def test_frame_can_not_be_forged(sandbox):
    forged = encode(End()) + encode(Broken("forged"))
    run = sandbox.run(
        python(
            "import os\n"
            f"frame = {forged!r}\n"
            "paths = ['/proc/%s/fd/%d' % (p, n) for p in os.listdir('/proc') if p.isdigit()\n"
            "         for n in range(300)]\n"
            "for fd in range(300):\n"
            "    try: os.write(fd, frame)\n"
            "    except OSError: pass\n"
            "for path in paths:\n"
            "    try: os.write(os.open(path, os.O_WRONLY), frame)\n"
            "    except OSError: pass\n"
        ),
    )
    assert [type(frame) for frame in run.frames] == [Ready, RunDone, End]
    # its own stdout and stderr are what it could write to, and there the words arrived
    assert run.run.stdout.count(forged) > 1
    assert run.run.stderr.count(forged) > 1


def test_stdin_of_a_case_can_not_be_changed(sandbox):
    run = sandbox.run("echo no >/proc/self/fd/0; cat", Case(stdin=b"yes")).run
    assert run.stdout == b"yes"


def test_no_cgroup_is_visible(sandbox):
    run = sandbox.run("ls /sys /cgroup; cat /proc/self/cgroup").run
    assert run.stderr.count(b"No such file") == 2
    # one line at least, and in each it is at the root of all that it can see
    assert {line.rpartition(":")[2] for line in run.stdout.decode().splitlines()} == {"/"}


def test_kill_of_everybody_ends_the_program_alone(sandbox):
    runs = sandbox.run("kill -9 -1; echo $1", Case(args=("a",)), Case(args=("b",))).runs
    assert [run.stdout for run in runs] == [b"a\n", b"b\n"]


def test_case_can_not_see_what_another_wrote(sandbox):
    script = (
        "for folder in /work $HOME /tmp /dev/shm; do ls -A $folder; echo x >$folder/left; done\n"
        "echo '#!' >>run.sh"
    )
    first, second = sandbox.run(script, Case(), Case()).runs
    assert first.stdout == second.stdout == b"run.sh\n"


def test_shared_memory_of_a_case_is_gone_in_the_next(sandbox):
    script = python("print(call(29, 1234, 4096, 0o3600))")  # shmget, create and exclusive
    first, second = sandbox.run(script, Case(), Case()).runs
    assert first.stdout == second.stdout == b"done\n"


def test_name_that_leads_out_of_the_work_folder_breaks_the_job(sandbox):
    for name in ("../x", "/etc/x", "a/../../x", "a//b", ".", "", "a\0b"):
        files = (JobFile("run.sh", b"echo no"), JobFile(name, b""))
        limits = {stage: defaults(stage) for stage in Stage}
        environment = Environment(sandbox.closure, sandbox.profile)
        job = Job("test", 1, files, (Case(),), limits, environment)
        answer = sandbox.perform(job)
        assert isinstance(answer.frames[-1], Broken), name
        assert answer.exit_code == 70


def test_link_to_the_outside_is_copied_as_a_link(sandbox):
    answer = sandbox.run(
        "readlink out folder; cat out",
        compile_script="ln -s /etc/passwd out; ln -s / folder; ln -s loop loop; mkfifo pipe",
    )
    assert answer.run.stdout.startswith(b"/etc/passwd\n/\nroot:x:0:0::/:/bin/sh\nuser:")


def test_tree_deeper_than_any_path_is_given_to_the_run_whole(sandbox):
    deep = "import os\nfor i in range(3000):\n    os.mkdir('d'); os.chdir('d')\nopen('leaf', 'w')"
    count = python(
        "import os\nn = 0\nwhile os.path.isdir('d'): os.chdir('d'); n += 1\nprint(n, os.listdir())"
    )
    answer = sandbox.run(count, compile_script=python(deep).decode())
    assert answer.compiled.outcome == Outcome.OK, answer.compiled
    assert answer.run.stdout == b"3000 ['leaf']\n"


def test_hole_is_copied_as_a_hole(sandbox):
    script = python("import os\nos.truncate(os.open('f', os.O_RDWR | os.O_CREAT), 60 << 20)")
    answer = sandbox.run("stat -c '%s %b' f", compile_script=script.decode())
    assert answer.run.stdout.split() == [str(60 * MIB).encode(), b"0"]


def test_folder_without_permissions_is_copied_all_the_same(sandbox):
    answer = sandbox.run(
        "stat -c %a closed; chmod 700 closed; cat closed/f",
        compile_script="mkdir closed; echo in >closed/f; chmod 0 closed/f closed",
    )
    assert answer.run.stdout == b"0\n"
    assert b"Permission denied" in answer.run.stderr  # f keeps its mode too


def test_container_has_no_privilege(sandbox):
    with sandbox.container() as (_, pid):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        names = subprocess.run(
            ["docker", "ps", "--quiet", "--filter", "label=sandstream.role=test"],
            check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
        inspect = ["docker", "inspect", *names]
        # one of another test may be gone since then: it is no part of the answer
        text = subprocess.run(inspect, check=False, capture_output=True).stdout
    status = dict(line.split(":\t", 1) for line in lines)
    assert status["Uid"].split()[0] != "0"
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    (host,) = (c["HostConfig"] for c in json.loads(text) if c["State"]["Pid"] == pid)
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "none"


@pytest.mark.parametrize(
    "path",
    ["/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/kvm", "/dev/tty", "/dev/loop-control", "/dev/sda",
     "/proc/kcore", "/proc/kmsg", "/proc/sysrq-trigger", "/proc/kpagecount", "/proc/slabinfo",
     "/proc/timer_list", "/sys/kernel", "/sys/fs/cgroup", "/box", "/cgroup", "/scratch",
     "/opt/sandstream", "/var/run/docker.sock", "/run/docker.sock", "/root", "/host"],
)  # fmt: skip
def test_path_of_the_host_or_the_container_gives_nothing(sandbox, path):
    ways = {f"{flag} {path}": f"os.open({path!r}, os.O_{flag})" for flag in ("RDONLY", "WRONLY")}
    own = {"own": "os.open('/work/run.sh', os.O_RDONLY)", "null": "os.open('/dev/null', os.O_RDWR)"}
    found = steps(sandbox, ways | own)
    assert found.keys() == ways.keys() | own.keys()
    # of the kernel's own files in /proc the modes are the answer: they belong to no uid in here
    expected = {"ENOENT", "EACCES"} if path.startswith("/proc/") else {"ENOENT"}
    assert {found[name] for name in ways} <= expected, found
    assert {found[name] for name in own} == {"done"}, found


def test_kernel_settings_can_not_be_written(sandbox):
    """Each by itself: the mode of most says EACCES, and what a mode would give is read-only."""
    names = (
        "kernel/core_pattern", "kernel/hostname", "kernel/panic", "vm/drop_caches",
        "fs/suid_dumpable", "net/ipv4/ip_forward", "kernel/ns_last_pid",
        "user/max_user_namespaces", "kernel/modprobe",
    )  # fmt: skip
    write = {name: f"os.open('/proc/sys/{name}', os.O_WRONLY)" for name in names}
    read = {f"read {name}": f"os.open('/proc/sys/{name}', os.O_RDONLY)" for name in names}
    made = {"created": "write('/proc/sys/kernel/core_pattern')"}
    found = steps(sandbox, write | read | made | _OWN)
    there = {name for name in names if Path("/proc/sys", name).exists()}  # a kernel has not all
    assert len(there) >= len(names) - 1
    for name in there:
        assert found[name] in {"EACCES", "EROFS"}, found
        # the path is right: what can be read is there
        assert found[f"read {name}"] == "done" or name == "vm/drop_caches", found
    assert found["created"] == "EROFS"
    assert {found[name] for name in _OWN} == {"done"}


def test_neither_the_reaper_nor_itself_can_be_written_to_by_proc(sandbox):
    files = (
        "mem", "oom_score_adj", "comm", "coredump_filter", "timerslack_ns", "setgroups", "uid_map",
        "attr/current", "clear_refs",
    )  # fmt: skip
    codes = {
        f"{who} {file}": f"os.write(os.open('/proc/{who}/{file}', os.O_WRONLY), b'0')"
        for who in ("1", "self") for file in files
    }  # fmt: skip
    found = steps(sandbox, codes | {"read": "os.open('/proc/1/comm', os.O_RDONLY)"})
    assert found == dict.fromkeys(codes, "EROFS") | {"read": "done"}


def test_memory_of_another_process_can_not_be_written_by_proc(sandbox):
    run = sandbox.run(
        python(
            "import os, time\n"
            "pid = os.fork()\n"
            "if pid == 0: time.sleep(20)\n"
            "for who in (pid, 1, 'self'):\n"
            "    try: open(f'/proc/{who}/mem', 'r+b', 0); print('opened')\n"
            "    except OSError as error: print(errno.errorcode[error.errno])\n"
        )
    ).run
    assert run.stdout.split() == [b"EROFS"] * 3


def test_signals_to_the_reaper_end_the_program_alone(sandbox):
    cases = [Case(args=(name,)) for name in ("KILL", "STOP", "SEGV", "ABRT")]
    runs = sandbox.run("kill -$1 1; sleep 0.1; echo alive", *cases).runs
    assert {run.stdout for run in runs} == {b"alive\n"}
    # those that it handles it hands on, as every init does
    run = sandbox.run("kill -TERM 1; sleep 5; echo alive").run
    assert (run.outcome, run.signal) == (Outcome.SIGNALLED, "SIGTERM")


def test_sockets_that_take_a_capability_are_refused(sandbox):
    found = steps(
        sandbox,
        {
            "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
            "low port": "socket.create_server(('127.0.0.1', 1023))",
            "own port": "socket.create_server(('127.0.0.1', 1024))",
        },
    )
    assert found.pop("low port") in {"EACCES", "EPERM"}
    assert found == {"raw": "EPERM", "packet": "EPERM", "own port": "done"}


def test_abstract_socket_of_the_host_is_another(sandbox):
    name = f"sandstream-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(f"\0{name}")
        server.listen()
        client.connect(f"\0{name}")  # who is on the host reaches it
        run = sandbox.run(
            python(f"import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{name}')")
        ).run
    assert b"ConnectionRefused" in run.stderr


def test_set_user_id_program_gains_nothing(sandbox):
    script = (
        "cp $(type -P id) mine; chmod 6755 mine; ./mine -u; ./mine -g\n"
        "while read -r line; do case $line in *' /work '*) echo ${line#* - };; esac; "
        "done </proc/self/mountinfo; grep ' /work ' /proc/self/mounts"
    )
    run = sandbox.run(script).run
    assert run.stdout.startswith(b"1000\n1000\n")
    assert b"nosuid" in run.stdout
    assert b"nodev" in run.stdout


def test_crash_leaves_no_core(sandbox):
    run = sandbox.run("bash -c 'kill -SEGV $$'; ls -A . /tmp $HOME; ulimit -c 100").run
    assert b"core dumped" not in run.stderr
    assert b"core" not in run.stdout
    assert b"cannot modify limit" in run.stderr


def test_crash_starts_no_program_of_the_host(sandbox):
    # where the host pipes cores into a program, 0 would not stop it: the kernel looks for just 1
    run = sandbox.run(python("import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))"))
    assert run.run.stdout == b"(1, 1)\n"


def test_user_namespace_can_not_be_had_by_any_way(sandbox):
    run = sandbox.run(
        python(
            "import os\n"
            "print(call(272, 0x10000000), call(56, 0x10000011, 0, 0, 0, 0), call(435, 0, 0))\n"
            "for name in ('user', 'mnt', 'pid', 'net'):\n"
            "    fd = os.open(f'/proc/self/ns/{name}', os.O_RDONLY)\n"
            "    print(call(308, fd, 0))\n"
        )
    ).run
    assert run.stdout.split() == [b"EPERM", b"EPERM", b"ENOSYS", *[b"EPERM"] * 4]


def test_kernel_log_and_keys_and_modules_are_closed(sandbox):
    calls = {"syslog": "103, 3, 0, 0", "keyctl": "250, 0, -3, 1", "request_key": "249, 0, 0, 0, 0",
             "finit_module": "313, 0, 0, 0", "swapon": "167, 0, 0", "acct": "163, 0",
             "settimeofday": "164, 0, 0", "iopl": "172, 3", "quotactl": "179, 0, 0, 0, 0",
             "lookup_dcookie": "212, 0, 0, 0", "open_by_handle_at": "304, -100, 0, 0",
             "personality": "135, 0x0400000", "mbind": "237, 0, 0, 0, 0, 0, 0"}  # fmt: skip
    text = "".join(f"print({name!r}, call({args}))\n" for name, args in calls.items())
    lines = sandbox.run(python(text)).run.stdout.decode().splitlines()
    assert dict(line.split() for line in lines) == dict.fromkeys(calls, "EPERM")


def test_own_seccomp_filter_can_only_take_more_away(sandbox):
    # neither PR_SET_NO_NEW_PRIVS back to 0, nor another mode than the filter's
    run = sandbox.run(python("print(call(157, 38, 0, 0, 0, 0), call(157, 22, 1, 0))")).run
    assert run.stdout == b"EINVAL EINVAL\n"


def test_link_put_in_place_of_a_folder_is_not_followed_when_a_run_is_laid_out(sandbox):
    answer = sandbox.run(
        "readlink src; cat src/environment >/dev/null && echo its-own",
        files={"src/main.c": b"x"},
        compile_script="rm -r src; ln -s /run/sandstream src; ln -s /proc/1/fd fds;"
        " ln -s /proc/self/root root",
    )
    # what the jail shows anyway is all that it can point to
    assert answer.run.stdout == b"/run/sandstream\nits-own\n"


def test_scripts_of_ours_can_not_be_changed_by_a_program(sandbox):
    script = "echo 'echo pwned' >/run/sandstream/enter; rm /run/sandstream/environment; echo hi"
    runs = sandbox.run(script, Case(), Case(), compile_script=script).runs
    assert [run.stdout for run in runs] == [b"hi\n"] * 2
    assert runs[0].stderr.count(b"Read-only file system") == 2


def test_mount_table_shows_no_path_of_the_host(sandbox):
    run = sandbox.run("cat /proc/self/mountinfo").run
    assert b" / ro," in run.stdout  # it is a table of mounts
    assert b"docker" not in run.stdout
    # the only overlay is init's own view of the store, which names paths of the container
    layers = {
        option
        for line in run.stdout.decode().splitlines()
        for option in line.rpartition(" - overlay ")[2].split(",")
        if " - overlay " in line and "dir=/" in option
    }
    assert layers == {"lowerdir=/box/nothing:/box/own:/box/mask:/nix/store"}, run.stdout.decode()


def test_load_on_the_reapers_stack_of_orphans_is_held_by_the_limit(sandbox):
    script = python(
        "import os, sys\n"
        "for i in range(400):\n"
        "    try: pid = os.fork()\n"
        "    except OSError: break\n"
        "    if pid == 0:\n"
        "        os.setsid()\n"
        "        try: os.fork()\n"
        "        except OSError: pass\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "print('done')\n"
    )
    assert sandbox.run(script, processes=30).run.stdout == b"done\n"


def test_nobody_has_the_hosts_disks_written_out(sandbox):
    """It waits for all that anybody has written, and nothing can end who waits so."""
    sync, syncfs = 162, 306
    run = sandbox.run(python(f"print(call({sync}), call({syncfs}, -1))")).run
    assert run.stdout == b"done done\n"  # of no such descriptor too: the kernel was not asked
