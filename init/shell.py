"""The jail of compile and runs: the shell that the environment describes, and nothing else."""

# the import of pathlib takes longer than all that init does before Ready
# ruff: noqa: PTH108, PTH113, PTH115, PTH123

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from init import profile as profiles
from init.jail import STAGE_DEVICES, Bind, Jail, Mount, Symlink
from init.process import STARTED_FD
from init.profile import UnusableError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from init.box import Box
    from init.frames import Environment
    from init.scratch import Scratch

WORK: Final = "/work"
_OURS: Final = "/run/sandstream"
#: Of PATH, which has dozens of folders, and of each path as the kernel has it: no clock runs while
#: init looks, and each part of a path costs a look at all before it.
_PATH_LETTERS: Final = 64 * 1024
_LONGEST_PATH: Final = 4095
_LINKS: Final = (
    Symlink("/proc/self/fd", "/dev/fd"),
    Symlink("/proc/self/fd/0", "/dev/stdin"),
    Symlink("/proc/self/fd/1", "/dev/stdout"),
    Symlink("/proc/self/fd/2", "/dev/stderr"),
)


@dataclass(frozen=True, slots=True)
class Shell:
    """An environment made ready for jails: its script lies in the box.

    `links` are the paths of the closure that are symbolic links themselves, by where they lead.
    """

    closure: tuple[str, ...]
    bash: str
    env: str | None
    links: tuple[Symlink, ...] = ()

    def sees(self, path: str) -> bool:
        """Whether a jail of this shell has something that can be executed at `path`."""
        if path == "/bin/sh" or (path == "/usr/bin/env" and self.env is not None):
            return True
        return _executable(self.closure, path)


def prepare(box: Box, environment: Environment) -> Shell:
    """Write the environment's script, and find its bash and its `env`. Raises ProfileError."""
    closure = environment.closure
    profile = profiles.parse(environment.profile)
    bash = profile.bash(closure)
    with open(f"{box.ours}/environment", "wb") as file:
        file.write(profiles.script_bytes(profile, bash))
    folders = dict.fromkeys((profile.text("PATH") or "")[:_PATH_LETTERS].split(":"))
    inside = frozenset(closure)
    candidates = (f"{folder}/env" for folder in folders)
    env = next((path for path in candidates if _executable(inside, path)), None)
    return Shell(closure, bash, env, tuple(_links(closure)))


def _executable(closure: Container[str], path: str) -> bool:
    """Whether `path` leads to something in the closure that can be executed.

    A path of the closure may be a link, and this container has more than a jail has.
    """
    if len(path) > _LONGEST_PATH or _root(path) not in closure or "\0" in path:
        return False
    there = os.path.realpath(path)
    return _root(there) in closure and os.access(there, os.X_OK)


def _root(path: str) -> str:
    """The store path that a path lies in."""
    return "/".join(path.split("/", 4)[:4])


def _links(closure: tuple[str, ...]) -> Iterator[Symlink]:
    """The paths that are links. Bound like the others, each would open what it leads to here."""
    for path in closure:
        try:
            target = os.readlink(path)
        except OSError:
            continue  # no link
        if ":" in target:
            raise UnusableError(f"{path} leads to {target!r}, and no jail's path can have a colon")
        yield Symlink(target, path)


def command(shell: Shell, scratch: Scratch, script: str, args: tuple[str, ...]) -> list[str]:
    """How to run `script`: by its `#!` where the jail has that, else by the shell's bash."""
    path = f"{WORK}/{script}"
    try:
        fd = os.open(
            f"{scratch.folder('work')}/{script}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError:
        return [shell.bash, path, *args]  # bash will tell what is wrong with it
    try:
        start = os.read(fd, 4096) if os.path.isfile(f"/proc/self/fd/{fd}") else b""
        found = profiles.interpreter(start)
        if start.startswith(b"\x7fELF") or (found is not None and shell.sees(found)):
            os.fchmod(fd, 0o755)
            return [path, *args]
    finally:
        os.close(fd)
    return [shell.bash, path, *args]


@contextmanager
def jail(box: Box, shell: Shell, scratch: Scratch, words: list[str]) -> Iterator[Jail]:
    """The jail in which `words` run in the shell; its entry script lies in the box meanwhile."""
    with open(_entry(scratch), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(profiles.entry(f"{_OURS}/environment", words, STARTED_FD))
    try:
        yield stage_jail(box, shell, scratch, uid=os.getuid())
    finally:
        os.unlink(_entry(scratch))


def _entry(scratch: Scratch) -> str:
    """The stage's own: it holds the arguments of a case, which are no other's business."""
    return f"{scratch.path}.enter"


def stage_jail(box: Box, shell: Shell, scratch: Scratch, *, uid: int) -> Jail:
    """The jail itself: the entry script sets the shell up and becomes the program. Pure."""
    return Jail(
        command=(f"{_OURS}/reaper", "--", shell.bash, f"{_OURS}/enter"),
        mounts=mounts(box, shell, scratch),
        cwd=WORK,
        outer_uid=uid,
        proc=box.proc,
        pass_fds=(STARTED_FD,),
    )


def mounts(box: Box, shell: Shell, scratch: Scratch) -> tuple[Bind | Mount | Symlink, ...]:
    """All that the program can see, and no other path.

    A bind mount follows a link of the outside: what a store path leads to, only the jail may tell.
    """
    links = {link.at for link in shell.links}
    tools = [Symlink(shell.bash, "/bin/sh")]
    if shell.env is not None:
        tools.append(Symlink(shell.env, "/usr/bin/env"))
    return (
        *(Bind(path, path) for path in shell.closure if path not in links),
        *shell.links,
        *tools,
        *STAGE_DEVICES,
        *_LINKS,
        Bind(scratch.folder("shm"), "/dev/shm", writable=True),  # noqa: S108 - the jail's own
        Bind(scratch.folder("work"), WORK, writable=True),
        Bind(scratch.folder("home"), profiles.HOME, writable=True),
        Bind(scratch.folder("tmp"), "/tmp", writable=True),  # noqa: S108 - the jail's own
        Bind(box.etc, "/etc"),
        *(Bind(f"{box.ours}/{name}", f"{_OURS}/{name}") for name in ("reaper", "environment")),
        Bind(_entry(scratch), f"{_OURS}/enter"),
    )
