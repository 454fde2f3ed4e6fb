"""Trees as no honest program leaves them, and another user to own them."""

# names as a program uses them, some no text and some too deep for a path
# ruff: noqa: PTH123

from __future__ import annotations

import os
import traceback

NOBODY = 54321


def deep(top, name, levels):
    """`levels` folders called `name`, each in the last, and a file of 5 bytes in the lowest."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=folder), "w") as file:
        file.write("hello")
    os.close(folder)


def in_child(folder, do):
    """Call `do` in `folder`, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(folder)
            do()
            code = 0
        except BaseException:  # noqa: BLE001 - told, and a failure in the parent
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def as_nobody(folder, do):
    """The same as a user who owns `folder`, and has no right to break rules of modes."""

    def dropped():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        do()

    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    in_child(folder, dropped)
