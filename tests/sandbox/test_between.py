"""Two submissions on one store: what one does to a store path, the other can't notice.

Both are real containers at the same time, each with its jail. Each test shows first that the way
works within one jail, so that the neighbour's silence means something.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from init.frames import Case
from init.outcome import Outcome
from tests.sandbox import store

pytestmark = pytest.mark.integration

_SIZE = 1 << 20
_START = (
    "#!/usr/bin/env python3\n"
    "import ctypes, errno, fcntl, mmap, os, signal, struct, sys, time\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "def call(number, *args):\n"
    "    result = libc.syscall(number, *args)\n"
    "    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
)
#: Another's lock on the range that a writer would want: `F_GETLK` asks, and needs no right for it.
_HELD = (
    "def held(fd):\n"
    "    asked = struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)\n"
    "    (kind,) = struct.unpack_from('h', fcntl.fcntl(fd, fcntl.F_GETLK, asked))\n"
    "    return kind != fcntl.F_UNLCK\n"
)


class Shared:
    """A store path that two submissions have, as the host knows it and as they do."""

    def __init__(self, folder: Path, environment: str) -> None:
        self.file = folder / "file"
        self.path = f"/nix/store/{folder.name}"
        self.given = {"closure": (store.SHELL, self.path), "environment": environment}


@pytest.fixture(params=["the store's", "an environment's own"])
def shared(sandbox, request):
    top = folder = sandbox.store / f"{uuid.uuid4().hex}-between"
    environment = ""
    if request.param != "the store's":
        environment = f"/nix/store/{folder.name}"
        folder = folder / f"{uuid.uuid4().hex}-own"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(_SIZE))
    with (folder / "file").open("rb") as file:
        os.fsync(file.fileno())
    yield Shared(folder, environment)
    shutil.rmtree(top)


@contextmanager
def neighbour(sandbox, shared, text):
    """Another submission that does `text` over and over, until the end of the block."""
    token = uuid.uuid4().hex
    script = f"{_START}{_HELD}path = {shared.path!r}\nwhile True:\n{text}"
    thread = threading.Thread(
        target=sandbox.run,
        args=(script, Case(args=(token,))),
        kwargs={**shared.given, "wall_seconds": 20},
    )
    thread.start()
    try:
        pid = _process(token)
        time.sleep(0.3)
        yield
        os.kill(pid, signal.SIGKILL)  # alive until now, or it has shown nothing
    finally:
        thread.join()


def _process(token):
    """The pid of the Python that was called with `token`."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"python3") and token.encode() in words:
                return int(folder.name)
        time.sleep(0.05)
    raise AssertionError("the neighbour did not begin")


def looked(sandbox, shared, text):
    script = f"{_START}{_HELD}path = {shared.path!r}\n{text}"
    answer = sandbox.run(script, **shared.given)
    assert answer.run.outcome == Outcome.OK, answer.run.stderr.decode()
    return answer.run.stdout.decode().split()


def test_watch_tells_nothing_of_what_a_neighbour_opens(sandbox, shared):
    with neighbour(
        sandbox, shared, "    open(path + '/file').close(); os.listdir(path); time.sleep(0.002)\n"
    ):
        seen = looked(
            sandbox,
            shared,
            "watch = call(294, 0o4000)\n"
            "assert call(254, watch, path.encode(), 0xfff) == 1\n"
            "assert call(254, watch, (path + '/file').encode(), 0xfff) == 2\n"
            "def events():\n"
            "    try: return len(os.read(watch, 65536))\n"
            "    except BlockingIOError: return 0\n"
            "open(path + '/file').close()\n"
            "print('own', events() > 0)\n"
            "time.sleep(1)\n"
            "print('others', events())\n",
        )
    assert seen == ["own", "True", "others", "0"]


def test_dnotify_tells_nothing_of_what_a_neighbour_reads(sandbox, shared):
    with neighbour(sandbox, shared, "    open(path + '/file', 'rb').read(1); time.sleep(0.002)\n"):
        seen = looked(
            sandbox,
            shared,
            "told = []\n"
            "signal.signal(signal.SIGIO, lambda *_: told.append(1))\n"
            "folder = os.open(path, os.O_RDONLY)\n"
            "fcntl.fcntl(folder, fcntl.F_NOTIFY, 1 | 0x80000000 - (1 << 32))\n"
            "os.pread(os.open(path + '/file', os.O_RDONLY), 1, 0)\n"
            "print('own', len(told) > 0)\n"
            "del told[:]\n"
            "time.sleep(1)\n"
            "print('others', len(told))\n"
            "os.close(folder)\n",
        )
    assert seen == ["own", "True", "others", "0"]


_LOCKS = (
    "    file = os.open(path + '/file', os.O_RDONLY)\n"
    "    fcntl.flock(file, fcntl.LOCK_EX)\n"
    "    fcntl.lockf(file, fcntl.LOCK_SH)\n"
    "    time.sleep(60)\n"
)
_LOOK_FOR_LOCKS = (
    "def look():\n"
    "    with open(path + '/file', 'rb') as file:\n"
    "        try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); free = True\n"
    "        except BlockingIOError: free = False\n"
    "        return free, held(file)\n"
)


def test_lock_of_a_neighbour_is_not_there(sandbox, shared):
    with neighbour(sandbox, shared, _LOCKS):
        seen = looked(
            sandbox,
            shared,
            _LOOK_FOR_LOCKS + "print('others', *look(), flush=True)\n"
            "file = os.open(path + '/file', os.O_RDONLY)\n"
            "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.lockf(file, fcntl.LOCK_SH)\n"
            "if os.fork() == 0:\n"
            "    print('own', *look(), flush=True); os._exit(0)\n"
            "os.wait()\n",
        )
    assert seen == ["others", "True", "False", "own", "False", "True"]


def test_lock_of_a_case_that_runs_at_the_same_time_is_not_there(sandbox, shared):
    (_, *others) = sandbox.run(
        f"{_START}{_HELD}path = {shared.path!r}\n{_LOOK_FOR_LOCKS}"
        "if sys.argv[1] == 'hold':\n"
        f"{_LOCKS.replace('sleep(60)', 'sleep(6)')}"
        "else:\n"
        "    found = set()\n"
        "    for _ in range(300): found.add(look()); time.sleep(0.01)\n"
        "    print(*found)\n",
        Case(args=("hold",)),
        Case(args=("look",)),
        **shared.given,
        at_once=2,
    ).runs
    assert [run.stdout for run in others] == [b"(True, False)\n"], others[0].stderr.decode()


def test_read_that_does_not_wait_says_nothing_of_the_page_cache(sandbox, shared):
    seen = []
    for advice in (os.POSIX_FADV_DONTNEED, os.POSIX_FADV_WILLNEED):
        with shared.file.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, advice)
        seen += looked(
            sandbox,
            shared,
            "file = os.open(path + '/file', os.O_RDONLY)\n"
            "try: print(os.preadv(file, [bytearray(4096)], 0, os.RWF_NOWAIT))\n"
            "except OSError as error: print(errno.errorcode[error.errno])\n",
        )
    assert seen in (["EOPNOTSUPP"] * 2, ["ENOTSUP"] * 2)


def test_mincore_and_cachestat_say_nothing_of_the_page_cache(sandbox, shared):
    with shared.file.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seen = looked(
        sandbox,
        shared,
        "libc.mmap.restype = ctypes.c_void_p\n"
        "def pages(name):\n"
        "    file = os.open(name, os.O_RDONLY)\n"
        f"    size = ctypes.c_size_t({_SIZE})\n"
        "    at = ctypes.c_void_p(libc.mmap(None, size, 1, 1, file, ctypes.c_long(0)))\n"
        f"    found = (ctypes.c_ubyte * {_SIZE // 4096})()\n"
        "    assert call(27, at, size, found) == 0\n"
        "    return sum(found)\n"
        f"os.truncate(os.open('own', os.O_RDWR | os.O_CREAT), {_SIZE})\n"
        "print('own', pages('own'))\n"
        "print('store', pages(path + '/file'))\n"
        "whole, answer = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()\n"
        "print(call(451, os.open(path + '/file', os.O_RDONLY), whole, answer, 0))\n",
    )
    # who may not write to a file is told that all of it is there
    assert seen == ["own", "0", "store", str(_SIZE // 4096), "EPERM"]


def test_page_cache_of_the_store_can_not_be_emptied(sandbox, shared):
    shared.file.read_bytes()
    with shared.file.open("rb") as file:
        ask = [bytearray(4096)]
        assert os.preadv(file.fileno(), ask, _SIZE // 2, os.RWF_NOWAIT) == 4096
        seen = looked(
            sandbox,
            shared,
            "file = os.open(path + '/file', os.O_RDONLY)\n"
            "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)\n"
            "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)\n"
            "print('advised')\n",
        )
        assert seen == ["advised"]
        assert os.preadv(file.fileno(), ask, _SIZE // 2, os.RWF_NOWAIT) == 4096


def test_disk_of_the_host_is_not_told(sandbox, shared):
    space = os.statvfs(shared.file)
    seen = looked(
        sandbox, shared, "s = os.statvfs(path + '/file'); print(s.f_blocks * s.f_frsize, s.f_files)"
    )
    assert int(seen[0]) < space.f_blocks * space.f_frsize // 16
    assert int(seen[1]) != space.f_files


def test_a_program_watches_and_locks_its_own_files(sandbox, shared):
    seen = looked(
        sandbox,
        shared,
        "for folder in ('/work', '/tmp', os.environ['HOME']):\n"
        "    watch = call(294, 0o4000)\n"
        "    assert call(254, watch, folder.encode(), 0xfff) == 1\n"
        "    file = os.open(folder + '/mine', os.O_RDWR | os.O_CREAT)\n"
        "    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    print(len(os.read(watch, 65536)) > 0, call(72, file, 1024, 1))\n",
    )
    assert seen == ["True", "0"] * 3
