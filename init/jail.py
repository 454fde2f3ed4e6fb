"""nsjail's command line: the one place where its flags are spelled.

A jail is stated as a value, and `argv` turns it into the arguments. It holds no path that is not
named: the root is an empty tmpfs, so what a jail can see is the list of its mounts and no more.
Resource limits are not nsjail's but the caller's (cgroups and rlimits, inherited): nsjail counts
file sizes in megabytes, and its cgroup flags ask for rights that we do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NSJAIL: Final = "/usr/local/bin/nsjail"
#: The jail's PID 1. Without a reaper the program itself would be PID 1 of its namespace, where
#: signals without a handler are ignored: `abort()` would hang and `kill -9 $$` do nothing.
REAPER: Final = "/usr/bin/tini-static"
#: Who a program is inside every jail. Outside it is the container's own, otherwise unused, uid.
JAIL_UID: Final = 1000

#: Harmless as it is, and ENOSYS where a C library falls back to an older call on it. Advice 4 is
#: POSIX_FADV_DONTNEED: it empties the page cache of a store path for everybody, and who can do that
#: again and again sees by the clock what others read.
_FOR_ALL: Final = """\
ERRNO(0) {
  sync, syncfs,
  fadvise64(fd, offset, len, advice) { advice == 4 }
}
ERRNO(38) { clone3, io_uring_setup, io_uring_enter, io_uring_register }"""
#: No program in any jail needs these. The container's own profile refuses most of them already.
_NEVER: Final = """\
  setns,
  ptrace, process_vm_readv, process_vm_writev, kcmp,
  bpf, userfaultfd, perf_event_open,
  keyctl, add_key, request_key,
  fsopen, fsmount, fsconfig, fspick, move_mount, open_tree, mount_setattr
}
DEFAULT ALLOW"""
#: Kafel policy that takes back what the container's seccomp profile had to allow for nsjail and
#: Nix (see init/seccomp.py), loaded by nsjail just before exec. Kafel says umount for umount2.
STAGE_POLICY: Final = f"""\
{_FOR_ALL}
ERRNO(1) {{
  clone(flags) {{ (flags & 0x7E020000) != 0 }},
  unshare, mount, umount, pivot_root, chroot,
  sethostname, setdomainname,
{_NEVER}"""
#: The same for a jail in which Nix makes a sandbox for each build. Nix needs every namespace but
#: that of cgroups: who has one can mount a cgroup file system, and make groups in it.
NIX_POLICY: Final = f"""\
{_FOR_ALL}
ERRNO(1) {{
  clone(flags) {{ (flags & 0x02000000) != 0 }},
  unshare(flags) {{ flags != 0x00020000 }},
{_NEVER}"""


#: Of the host, and no program's business: the kernel's command line, its disks and devices, what
#: others lock and use. Not what counts CPUs and memory, which runtimes read.
_HIDDEN_FILES: Final = (
    "cmdline", "diskstats", "interrupts", "keys", "latency_stats", "locks", "modules", "partitions",
    "sched_debug", "swaps", "timer_list",
)  # fmt: skip
_HIDDEN_FOLDERS: Final = ("acpi", "asound", "bus", "fs", "irq", "scsi")


def proc_config(nothing: str, opens: Callable[[str], bool]) -> str:
    """The nsjail configuration of a /proc without what is the host's: no option can say it.

    Options are mounted before nsjail's own /proc, which would cover them. `nothing` is an empty
    folder. What nobody can read, or this kernel does not have, need not be hidden and can't be.
    """
    lines = ['mount { dst: "/proc" fstype: "proc" rw: false }']
    # read-only, the device too: anybody could set its times
    for source, names in (("/dev/null", _HIDDEN_FILES), (nothing, _HIDDEN_FOLDERS)):
        lines += (
            f'mount {{ src: "{source}" dst: "/proc/{name}" is_bind: true rw: false }}'
            for name in names
            if opens(f"/proc/{name}")
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the outside that the jail sees; read-only unless said otherwise."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system made for this jail, as mount(8) knows it."""

    kind: str
    target: str
    options: str = ""
    source: str = "none"


@dataclass(frozen=True, slots=True)
class Symlink:
    points_to: str
    at: str


@dataclass(frozen=True, slots=True)
class Jail:
    """Everything that one jail is. Mounts are made in the order given: parents come first.

    `outer_uid` is the uid, in the caller's user namespace, that `uid` stands for: an unprivileged
    user namespace maps only its creator. `policy` None leaves the container's profile alone.
    `user_namespaces` says how many can be nested, the jail's own included; where it is None, the
    policy decides.
    """

    command: tuple[str, ...]
    mounts: tuple[Bind | Mount | Symlink, ...]
    cwd: str
    outer_uid: int
    uid: int = JAIL_UID
    environment: tuple[tuple[str, str], ...] = ()
    hostname: str = "sandstream"
    policy: str | None = STAGE_POLICY
    user_namespaces: int | None = None
    network: bool = False
    proc_writable: bool = False
    proc: str = ""
    pass_fds: tuple[int, ...] = ()
    log_fd: int = 2


#: Device nodes that programs expect; bound from the container, which has no others.
DEVICES: Final = tuple(
    Bind(f"/dev/{name}", f"/dev/{name}", writable=True)
    for name in ("null", "zero", "full", "random", "urandom")
)
#: The same for compile and runs. On a read-only mount a device is written to as ever, but nobody
#: sets its times: those of the nodes that all cases share would be a word from one to the next.
STAGE_DEVICES: Final = tuple(Bind(device.source, device.target) for device in DEVICES)


def argv(jail: Jail) -> list[str]:
    """The command that runs `jail`. Pure; docs/flows.md prints it, a test compares it whole."""
    words = [NSJAIL]
    if jail.proc:
        words += ["--config", jail.proc, "--disable_proc"]  # first: it would undo what it follows
    words += [
        "--mode", "o",
        "--quiet",  # warnings and worse: in a good jail there are none, in another they say why
        "--log_fd", str(jail.log_fd),
        "--time_limit", "0",  # the caller's clock rules, in milliseconds
        "--nice_level", "0",
        "--disable_rlimits",  # inherited from the caller, who sets them in bytes
        "--hostname", jail.hostname,
        "--user", f"{jail.uid}:{jail.outer_uid}:1",
        "--group", f"{jail.uid}:{jail.outer_uid}:1",
        "--cwd", jail.cwd,
    ]  # fmt: skip
    if jail.network:
        words += ["--disable_clone_newnet"]
    if jail.proc_writable:
        words += ["--proc_rw"]
    for fd in jail.pass_fds:
        words += ["--pass_fd", str(fd)]
    for entry in jail.mounts:
        words += mount_words(entry)
    for name, value in jail.environment:
        words += ["--env", f"{name}={value}"]
    if jail.policy is not None:
        words += policy_words(jail.policy)
    return [*words, "--", *jail.command]


def policy_words(policy: str) -> list[str]:
    return ["--seccomp_string", policy]


def mount_words(entry: Bind | Mount | Symlink) -> list[str]:
    """A path with a colon, at which nsjail splits, raises ValueError."""
    match entry:
        case Bind(one, other) | Symlink(one, other) if ":" in one or ":" in other:
            raise ValueError(f"no path of a jail can have a colon: {entry}")
        case Bind(source, target, writable):
            return ["--bindmount" if writable else "--bindmount_ro", f"{source}:{target}"]
        case Mount(kind, target, options, source):
            return ["--mount", f"{source}:{target}:{kind}:{options}"]
        case Symlink(points_to, at):
            return ["--symlink", f"{points_to}:{at}"]
