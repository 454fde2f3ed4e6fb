"""Looks at the host as a running service sees it: in its mounts and its root, as its user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: A process of ours enters the mount namespace and the root of another, and becomes its user. What
#: it tries there is done by the kernel, for that user, in that file system. `socket` and `codecs`
#: are loaded before: there may be no Python in there.
_ENTER = """
import ctypes, encodings.idna, json, os, socket, sys

pid, wanted = int(sys.argv[1]), json.loads(sys.argv[2])
uid = os.stat(f"/proc/{pid}").st_uid
mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.setns(mounts, 0) == 0, os.strerror(ctypes.get_errno())
os.fchdir(root)
os.chroot(".")
os.setgroups([])
os.setgid(uid)
os.setuid(uid)


def tried(how, path):
    try:
        if how == "connect":
            with socket.socket(socket.AF_UNIX) as it:
                it.connect(path)
        elif how == "write":
            os.close(os.open(path + "/written", os.O_WRONLY | os.O_CREAT, 0o600))
            os.unlink(path + "/written")
        elif os.path.isdir(path):
            os.listdir(path)
        else:
            os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return type(error).__name__
    return "done"


print(json.dumps([tried(how, path) for how, path in wanted]))
"""


def tried(pid: int, *wanted: tuple[str, Path]) -> list[str]:
    """What comes of `read`, `write` and `connect`: "done", or the name of the error."""
    given = json.dumps([(how, str(path)) for how, path in wanted])
    argv = [sys.executable, "-c", _ENTER, str(pid), given]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


def status(pid: int) -> dict[str, str]:
    """Of /proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
