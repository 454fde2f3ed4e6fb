"""A shell built in the submission's own container: it uses the host's store and adds nothing.

For `cache: false`, and where no builder answers. The host's store is the lower layer of an
overlay whose upper layer lies in the container's own folder; Nix is told by a snapshot of the
store's database what is there, and builds the rest as a plain local store. Compile and runs then
find the whole closure in `/nix/store`, whichever layer it is in. All of it goes with the container.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH116, PTH123 - pathlib costs milliseconds to import

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from init import disk, namespaces, nix, nix_answer, stoppable, tree
from init.limits import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.box import Box
    from init.frames import DependenciesDone, Job, Report
    from init.limits import StageLimits

#: Of the stage's cgroup.
_NAME: Final = "dependencies"
#: Below the box's scratch folder. `db` is the worker's: `db.sqlite` and `schema`.
_SNAPSHOT: Final = "db"
#: The worker's as well, where a build may reach anything: the socket of its proxy, and a
#: `nix.conf` with the caches behind it.
_EGRESS: Final = "egress"
_FILES: Final = "files"
_UPPER: Final = "upper"
_OVERLAY_WORK: Final = "overlay"
_VAR: Final = "var"
_BUILDS: Final = "builds"
#: A builder may begin the same derivation while the overlay is there, and that more than once.
_TRIES: Final = 5


class NoSnapshotError(RuntimeError):
    """Nobody told Nix what the host's store holds; our fault, so there is no report."""


def _hide_others_builds(store: str, upper: str) -> None:
    """Hide what a builder's builds hold, or one that was killed has left, in the lower layer.

    Nix would open the lock of the same output, and may not: it is another user's. A device 0/0
    is what an overlay takes for "not there"; anybody may make one. A store path may end in
    `.lock` as well, but all can read it; it may be a link, even one to itself.
    """
    for entry in os.scandir(store):
        with suppress(FileNotFoundError, FileExistsError):  # gone already; hidden before
            if nix.is_root_of_a_build(entry.path) or _is_lock(entry):
                os.mknod(f"{upper}/{entry.name}", stat.S_IFCHR)


def _is_lock(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".lock") and not entry.stat(follow_symlinks=False).st_mode & 0o044


def build(job: Job, box: Box) -> DependenciesDone:
    """Build the job's shell. From here on this process sees the overlay at /nix/store.

    Raises NoSnapshotError, and OSError when the overlay can't be had.
    """
    folder = box.scratch
    limits = job.limits[Stage.DEPENDENCIES]
    _lay_out(folder)
    tree.write(f"{folder}/{_FILES}", [file for file in job.files if nix.is_shell_file(file.name)])
    report = _build(box, limits)
    for _ in range(_TRIES - 1):
        left = replace(
            limits,
            wall_seconds=limits.wall_seconds - report.wall_seconds,
            cpu_seconds=limits.cpu_seconds - report.cpu_seconds,
        )
        met = nix_answer.met_anothers_build(report)
        if not met or left.wall_seconds <= 0 or left.cpu_seconds <= 0:
            break
        # what lies in the lower layer is hidden from outside of the overlay alone
        namespaces.unmount(nix.STORE)
        report = _together(report, _build(box, left))
    return nix_answer.done(report)


def _build(box: Box, limits: StageLimits) -> Report:
    """Lay the overlay over the store as it is now, and run Nix on it."""
    folder = box.scratch
    _hide_others_builds(nix.STORE, f"{folder}/{_UPPER}")
    namespaces.mount(
        "overlay",
        nix.STORE,
        f"lowerdir={nix.STORE},upperdir={folder}/{_UPPER},workdir={folder}/{_OVERLAY_WORK},userxattr",
    )
    jail = nix.container_jail(
        uid=os.getuid(),
        files=f"{folder}/{_FILES}",
        var=f"{folder}/{_VAR}",
        scratch=f"{folder}/{_BUILDS}",
        **_reached(f"{folder}/{_EGRESS}"),
    )
    return stoppable.run(
        box.delegated,
        _NAME,
        jail,
        replace(limits, stdout_bytes=nix.MAX_OUTPUT_BYTES),
        cgroups=box.cgroups,
        used=_measured(box, limits.disk_bytes),
    )


def _measured(box: Box, limit: int) -> stoppable.Used:
    """What Nix and its builds have written, files included that have no name any more."""
    written = [f"{box.scratch}/{name}" for name in (_UPPER, _BUILDS)]
    group = f"{box.cgroups}/{box.delegated.folders['pids']}/{_NAME}"
    # a file that was opened through the overlay says that it lies there
    devices = {os.stat(folder).st_dev for folder in (*written, nix.STORE)}

    def used(ended: Callable[[], bool]) -> int:
        named = sum(disk.size_of(folder, limit, ended) for folder in written)
        return named + disk.size_of_nameless(group, devices, ended)

    return used


def _reached(folder: str) -> dict[str, str]:
    """The jail's way out, where the worker has made one."""
    try:
        with open(f"{folder}/nix.conf", encoding="utf-8") as file:
            return {"proxy": f"{folder}/socket", "config": file.read()}
    except FileNotFoundError:
        return {}


def _together(first: Report, last: Report) -> Report:
    """The last run's report, with what the one before it has used."""
    return replace(
        last,
        wall_seconds=first.wall_seconds + last.wall_seconds,
        cpu_seconds=first.cpu_seconds + last.cpu_seconds,
        cpu_user_seconds=first.cpu_user_seconds + last.cpu_user_seconds,
        cpu_system_seconds=first.cpu_system_seconds + last.cpu_system_seconds,
        memory_peak_bytes=max(first.memory_peak_bytes, last.memory_peak_bytes),
    )


def _lay_out(folder: str) -> None:
    for name in (_FILES, _UPPER, _OVERLAY_WORK, _BUILDS, _VAR, f"{_VAR}/nix"):
        os.mkdir(f"{folder}/{name}", 0o755)
    os.chmod(f"{folder}/{_BUILDS}", 0o700)
    try:
        os.rename(f"{folder}/{_SNAPSHOT}", f"{folder}/{_VAR}/nix/db")
    except FileNotFoundError as error:
        raise NoSnapshotError(
            "the worker has put no snapshot of the store's database into the scratch folder"
        ) from error
