"""A shell built in a container of its own: it uses the host's store and adds nothing to it.

For `cache: false`, where no builder answers, and for a builder's own jobs (`init/builds.py`). The
host's store is the lower layer of an overlay whose upper layer lies in the container's own folder;
Nix is told by a snapshot of the store's database what is there, and builds the rest as a plain
local store. Compile and runs then find the whole closure in `/nix/store`, whichever layer it is
in. All of it goes with the container.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH110, PTH116, PTH123 - pathlib costs milliseconds to import

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from init import disk, namespaces, nix, nix_answer, nix_jails, stoppable, tree
from init.limits import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from init.box import Box
    from init.frames import DependenciesDone, Job, JobFile, Report
    from init.limits import StageLimits

#: Of the stage's cgroup.
_NAME: Final = "dependencies"
#: Below the box's scratch folder. `db` is the worker's: `db.sqlite` and `schema`.
_SNAPSHOT: Final = "db"
#: The worker's as well, where a build may reach anything: the socket of its proxy, and a
#: `nix.conf` with the caches behind it.
_EGRESS: Final = "egress"
_FILES: Final = "files"
#: What the builds have made: the overlay's upper layer.
UPPER: Final = "upper"
_OVERLAY_WORK: Final = "overlay"
_VAR: Final = "var"
_BUILDS: Final = "builds"
#: What the trusted side has added, for `nix-store --load-db`; no jail can write to it.
_REGISTRATION: Final = "registration"
#: A builder may begin the same derivation while the overlay is there, and that more than once.
_TRIES: Final = 5


class NoSnapshotError(RuntimeError):
    """Nobody told Nix what the host's store holds; our fault, so there is no report."""


def build(job: Job, box: Box) -> DependenciesDone:
    """Build the job's shell. From here on this process sees the overlay at /nix/store.

    Raises NoSnapshotError, and OSError when the overlay can't be had.
    """
    private = PrivateStore(box)
    private.lay_out(job.files)
    private.mount()
    report = private.run(job.limits[Stage.DEPENDENCIES], nix.script())
    return nix_answer.done(report)


class PrivateStore:
    """A Nix store of the container's own over the host's, and the jails that work on it."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._folder = box.scratch

    @property
    def upper(self) -> str:
        """The folder with all that was built or changed."""
        return f"{self._folder}/{UPPER}"

    def lay_out(self, files: Iterable[JobFile]) -> None:
        """Make the folders, and write what a shell may read. Raises NoSnapshotError."""
        for name in (_FILES, UPPER, _OVERLAY_WORK, _BUILDS, _VAR, f"{_VAR}/nix"):
            os.mkdir(f"{self._folder}/{name}", 0o755)
        os.chmod(f"{self._folder}/{_BUILDS}", 0o700)
        try:
            os.rename(f"{self._folder}/{_SNAPSHOT}", f"{self._folder}/{_VAR}/nix/db")
        except FileNotFoundError as error:
            raise NoSnapshotError(
                "the worker has put no snapshot of the store's database into the scratch folder"
            ) from error
        shell_files = [file for file in files if nix.is_shell_file(file.name)]
        tree.write(f"{self._folder}/{_FILES}", shell_files)

    def mount(self) -> None:
        """Lay the overlay over the store as it is now."""
        _hide(nix.STORE, self.upper)
        namespaces.mount(
            "overlay",
            nix.STORE,
            f"lowerdir={nix.STORE},upperdir={self.upper},"
            f"workdir={self._folder}/{_OVERLAY_WORK},userxattr",
        )

    def add(self, registration: bytes) -> None:
        """Take in what the trusted side has added below.

        An overlay remembers names that were not there: so it is mounted anew.
        """
        with open(f"{self._folder}/{_REGISTRATION}", "wb") as file:
            file.write(registration)
        self._mount_again()

    def _mount_again(self) -> None:
        # what lies in the lower layer is hidden from outside of the overlay alone
        namespaces.unmount(nix.STORE)
        self.mount()

    def run(self, limits: StageLimits, program: str, *, stop_fd: int | None = None) -> Report:
        """Run a program of Nix's; once more where it met a build of the store's owner."""
        report = self._run(limits, program, stop_fd)
        for _ in range(_TRIES - 1):
            rest = left(limits, report)
            met = nix_answer.met_anothers_build(report)
            if not met or rest is None:
                break
            self._mount_again()
            report = together(report, self._run(rest, program, stop_fd))
        return report

    def _run(self, limits: StageLimits, program: str, stop_fd: int | None) -> Report:
        registration = f"{self._folder}/{_REGISTRATION}"
        jail = nix_jails.container_jail(
            uid=os.getuid(),
            files=f"{self._folder}/{_FILES}",
            var=f"{self._folder}/{_VAR}",
            scratch=f"{self._folder}/{_BUILDS}",
            program=program,
            registration=registration if os.path.exists(registration) else "",
            **_reached(f"{self._folder}/{_EGRESS}"),
        )
        return stoppable.run(
            self._box.delegated,
            _NAME,
            jail,
            replace(limits, stdout_bytes=nix.MAX_OUTPUT_BYTES),
            cgroups=self._box.cgroups,
            stop_fd=stop_fd,
            used=self._measured(limits.disk_bytes),
        )

    def _measured(self, limit: int) -> stoppable.Used:
        """What Nix and its builds have written, files included that have no name any more."""
        box = self._box
        written = [f"{box.scratch}/{name}" for name in (UPPER, _BUILDS)]
        group = f"{box.cgroups}/{box.delegated.folders['pids']}/{_NAME}"
        # a file that was opened through the overlay says that it lies there
        devices = {os.stat(folder).st_dev for folder in (*written, nix.STORE)}

        def used(ended: Callable[[], bool]) -> int:
            named = sum(disk.size_of(folder, limit, ended) for folder in written)
            return named + disk.size_of_nameless(group, devices, ended)

        return used


def _hide(store: str, upper: str) -> None:
    """Hide every environment, and what a builder's builds hold or a killed one has left.

    An environment is its own submissions' business: Nix does not know it here, and no evaluation
    or build sees its name. Of a build Nix would open the lock of the same output, and may not: it
    is another user's. A device 0/0 is what an overlay takes for "not there"; anybody may make one.
    A store path may end in `.lock` as well, but all can read it; it may be a link, even one to
    itself.
    """
    for entry in os.scandir(store):
        with suppress(FileNotFoundError, FileExistsError):  # gone already; hidden before
            if (
                nix.is_environment(entry.name)
                or nix.is_root_of_a_build(entry.path)
                or _is_lock(entry)
            ):
                os.mknod(f"{upper}/{entry.name}", stat.S_IFCHR)


def is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of the upper layer is one that `_hide` has made."""
    return stat.S_ISCHR(entry.stat(follow_symlinks=False).st_mode)


def _is_lock(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".lock") and not entry.stat(follow_symlinks=False).st_mode & 0o044


def _reached(folder: str) -> dict[str, str]:
    """The jail's way out, where the worker has made one."""
    try:
        with open(f"{folder}/nix.conf", encoding="utf-8") as file:
            return {"proxy": f"{folder}/socket", "config": file.read()}
    except FileNotFoundError:
        return {}


def left(limits: StageLimits, used: Report) -> StageLimits | None:
    """The limits of what follows, or None when there is no time left."""
    rest = replace(
        limits,
        wall_seconds=limits.wall_seconds - used.wall_seconds,
        cpu_seconds=limits.cpu_seconds - used.cpu_seconds,
    )
    return rest if rest.wall_seconds > 0 and rest.cpu_seconds > 0 else None


def together(first: Report, last: Report) -> Report:
    """The last run's report, with what the one before it has used."""
    return replace(
        last,
        wall_seconds=first.wall_seconds + last.wall_seconds,
        cpu_seconds=first.cpu_seconds + last.cpu_seconds,
        cpu_user_seconds=first.cpu_user_seconds + last.cpu_user_seconds,
        cpu_system_seconds=first.cpu_system_seconds + last.cpu_system_seconds,
        memory_peak_bytes=max(first.memory_peak_bytes, last.memory_peak_bytes),
        starved=first.starved or last.starved,
    )
