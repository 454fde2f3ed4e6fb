"""One test case never sees what another did, by whatever way it tries to leave a word."""

from __future__ import annotations

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome

pytestmark = pytest.mark.integration

_PYTHON = "#!/usr/bin/env python3\n"
_LIBC = (
    "import ctypes, errno, os, socket, sys\n"
    # what waits in a buffer would be a fork's as well
    "sys.stdout.reconfigure(line_buffering=True)\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "def call(number, *args):\n"
    "    result = libc.syscall(number, *args)\n"
    "    return 'made' if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
)

#: Each prints what it finds, and then leaves its word: both cases must print the same.
_WORDS = {
    "System V shared memory": "print(call(29, 77, 4096, 0o3600))",
    "System V semaphores": "print(call(64, 77, 1, 0o3600))",
    "System V messages": "print(call(68, 77, 0o3600))",
    "POSIX messages": "print(call(240, b'word', os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None))",
    "an abstract socket": (
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0word'); s.listen()\n"
        "print('bound')\nif os.fork() == 0: os.setsid(); s.accept()"
    ),
    "a port of the loopback": (
        "s = socket.create_server(('127.0.0.1', 4711)); print('bound')\n"
        "if os.fork() == 0: os.setsid(); s.accept()"
    ),
    "a process that left its session": (
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]))\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        import time; time.sleep(60)"
    ),
    "times of the folders": (
        "print([os.stat(d).st_mtime < 2e9 for d in ('.', '/tmp', os.environ['HOME'])])\n"
        "for d in ('.', '/tmp', os.environ['HOME']): os.utime(d, (4e9, 4e9))"
    ),
    "modes of the folders": (
        "print([oct(os.stat(d).st_mode) for d in ('/work', '/tmp', os.environ['HOME'])])\n"
        "for d in ('/work', '/tmp', os.environ['HOME']): os.chmod(d, 0)"
    ),
    "a name that compile gave": (
        "print(open('made').read(), os.stat('made').st_nlink, oct(os.stat('made').st_mode))\n"
        "os.chmod('made', 0o777); open('made', 'w').write('x'); os.link('made', 'again')"
    ),
    "a file that is removed": "print(os.path.exists('made')); os.remove('made')",
    "an extended attribute": (
        "try: print(os.listxattr('made')); os.setxattr('made', 'user.word', b'x')\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    ),
    "a lock": (
        "import fcntl\nf = open('made')\n"
        "fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print('locked')\n"
        "if os.fork() == 0: os.setsid(); import time; time.sleep(60)"
    ),
    "all that is in the work folder": (
        "import shutil\nprint(sorted(os.listdir('.')))\n"
        "for name in os.listdir('.'): os.remove(name)\n"
        "try: os.chdir('/'); os.rmdir('/work')\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    ),
    "a host name": "print(socket.gethostname(), call(170, b'word', 4))",
    "a priority and a limit of the reaper": (
        "import resource\n"
        "print(os.getpriority(os.PRIO_PROCESS, 1), resource.prlimit(1, resource.RLIMIT_NOFILE))\n"
        "os.setpriority(os.PRIO_PROCESS, 1, 5)\n"
        "resource.prlimit(1, resource.RLIMIT_NOFILE, (64, 64))"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", [way for way in _WORDS if way != "a host name"])  # that is EPERM
def test_word_is_there_for_the_next_program_of_the_same_case(sandbox, way):
    """The control: each way does carry a word, where nothing stands between the two."""
    run = sandbox.run(
        "cp way /tmp/way; rm way; python3 /tmp/way; echo --; python3 /tmp/way 2>/tmp/words",
        files={"way": (_PYTHON + _LIBC + _WORDS[way]).encode()},
        compile_script="echo kept >made; chmod 640 made",
    ).run
    first, _, second = run.stdout.partition(b"--\n")
    assert first, run
    assert second != first, run


@pytest.mark.parametrize("way", _WORDS)
def test_case_leaves_no_word_for_the_next(sandbox, way):
    compile_script = "echo kept >made; chmod 640 made"
    answer = sandbox.run(
        _PYTHON + _LIBC + _WORDS[way], *[Case()] * 3, compile_script=compile_script
    )
    first, *others = answer.runs
    assert first.outcome == Outcome.OK, first
    assert first.stdout
    assert [run.stdout for run in others] == [first.stdout] * 2


def test_compile_leaves_no_process_socket_or_shared_memory_for_a_run(sandbox):
    leave = _PYTHON + _LIBC + (
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0word'); s.listen()\n"
        "call(29, 77, 4096, 0o1600)\n"
        "if os.fork() == 0: os.setsid(); s.accept()"
    )  # fmt: skip
    look = _PYTHON + _LIBC + (
        "print(call(29, 77, 4096, 0o3600)); socket.socket(socket.AF_UNIX).bind('\\0word')"
    )  # fmt: skip
    run = sandbox.run(look, compile_script=leave).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"made\n"), run


_TREES = {
    "its own folder closed": ("chmod 0 .", "echo ran", b"ran\n"),
    "a folder closed": ("mkdir d; echo x >d/f; chmod 0 d", "stat -c %a d", b"0\n"),
    "names that are no UTF-8": (
        "touch \"$(printf 'a\\377\\376')\" \"$(printf 'new\\nline')\"",
        "[ -e \"$(printf 'a\\377\\376')\" ] && [ -e \"$(printf 'new\\nline')\" ] && echo ran",
        b"ran\n",
    ),
    "a name of 255 bytes": ("touch $(printf %0255d 1)", "ls -d 0* | head -c 300 | wc -c", b"256\n"),
    "a fifo, and nobody at its end": ("mkfifo pipe", "[ -p pipe ] && echo ran", b"ran\n"),
    # nobody is left to answer at it
    "a socket": (
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'; [ -S s ]",
        "[ ! -e s ] && echo ran",
        b"ran\n",
    ),
    "a loop of links": ("ln -s b a; ln -s a b; ln -s . c", "readlink a b c", b"b\na\n.\n"),
    "three hundred folders in folders": (
        "for i in $(seq 300); do mkdir d; cd d; done; echo ran >leaf",
        "for i in $(seq 300); do cd d; done; cat leaf",
        b"ran\n",
    ),
    "a thousand files": (
        "for i in $(seq 1000); do echo $i >f$i; done",
        "cat f1000; ls | wc -l",
        b"1000\n1002\n",
    ),
    "a file of 50 MB": (
        "head -c 50000000 /dev/zero >big",
        "stat -c %s big",
        b"50000000\n",
    ),
    "set-user-id bits": (
        "cp $(type -P id) mine; chmod 6755 mine",
        "stat -c %a mine; ./mine -u",
        b"6755\n1000\n",
    ),
}


@pytest.mark.parametrize("what", _TREES)
def test_run_starts_from_whatever_compile_left(sandbox, what):
    compile_script, script, output = _TREES[what]
    answer = sandbox.run(script, Case(), Case(), compile_script=compile_script)
    assert answer.compiled.outcome == Outcome.OK, answer.compiled
    assert [run.stdout for run in answer.runs] == [output] * 2, answer.runs


def test_device_can_not_be_made(sandbox):
    script = _PYTHON + _LIBC + "print(call(133, b'null', 0o020666, 0x103))"
    assert sandbox.run(script).run.stdout == b"EPERM\n"


def test_inodes_that_compile_used_up_do_not_starve_the_runs(sandbox):
    fill = _PYTHON + (
        "try:\n    for n in range(10**6): open(f'f{n}', 'w').close()\nexcept OSError: print(n)"
    )
    answer = sandbox.run(
        "echo x >one-more && echo ran", compile_script=fill, compile_limits={"disk_bytes": 2 * MIB}
    )
    assert answer.compiled.outcome == Outcome.OK
    assert answer.run.stdout == b"ran\n", answer.run
