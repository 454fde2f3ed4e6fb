"""The seccomp profile of a submission's container, as data.

It is Docker's default allow list for amd64 (moby's profiles/seccomp/default.json, as a container
without any capability gets it), less what a submission never needs, plus the few calls from
which an unprivileged process builds a user namespace. The jail around each stage takes those few
back: see STAGE_POLICY in init/jail.py. The Engine's API wants the JSON itself, not a path.
"""

from __future__ import annotations

from typing import Any, Final

#: Docker's list, the names of 32-bit ABIs left out. Taken away on purpose: `io_uring_*` (a kernel
#: attack surface of its own, unseen by seccomp), `ptrace` and `process_vm_*` (no debugger here).
_ALLOWED: Final = """
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown
clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range
creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp
getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek
lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat
mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv
preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat
shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statmount
statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
timerfd_settime times tkill truncate umask uname unlink unlinkat uretprobe utime utimensat utimes
vfork vmsplice wait4 waitid write writev
"""

_AF_UNIX: Final = 1
_AF_INET: Final = 2
_AF_INET6: Final = 10
_AF_NETLINK: Final = 16
_NETLINK_ROUTE: Final = 0
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
#: Every CLONE_NEW* that existed when Docker wrote its rule: a `clone` without these is a fork.
_CLONE_NAMESPACES: Final = 0x7E020000
_MNT_DETACH: Final = 2
_ENOSYS: Final = 38
_PERSONALITIES: Final = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _allow(*names: str) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"}


def _allow_when(name: str, compare: str, value: int, second: int = 0, *, index: int = 0) -> Any:
    argument = {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{compare}"}
    return _allow(name) | {"args": [argument]}


def _is(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}


def profile() -> dict[str, Any]:
    """The profile, ready for `json.dumps` into the container's `seccomp=` option."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        # one ABI: x86 and x32 calls have other numbers, and so another list to get wrong
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            # --- as Docker has it
            _allow(*_ALLOWED.split()),
            *(_allow_when("personality", "EQ", value) for value in _PERSONALITIES),
            _allow_when("clone", "MASKED_EQ", _CLONE_NAMESPACES, 0),
            # filters can't see clone3's flags; on ENOSYS every C library falls back to clone
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
            # --- less than Docker: sockets of the families that programs use. Any other is code of
            # the kernel's, loaded for who asks (AF_ALG, AF_PACKET, AF_VSOCK). So are the protocols
            # of netlink; NETLINK_USERSOCK holds messages that no limit counts
            *(_allow_when("socket", "EQ", family) for family in (_AF_UNIX, _AF_INET, _AF_INET6)),
            _allow("socket") | {"args": [_is(0, _AF_NETLINK), _is(2, _NETLINK_ROUTE)]},
            _allow_when("socketpair", "EQ", _AF_UNIX),
            # --- ours: each is harmless outside of a user namespace of one's own, as the
            # capability that it asks for exists nowhere else
            # nsjail's and Nix's children begin in new namespaces, always a user namespace first
            _allow_when("clone", "MASKED_EQ", _CLONE_NEWUSER, _CLONE_NEWUSER),
            # init's own namespaces, in which it mounts each stage's tmpfs
            _allow_when("unshare", "EQ", _CLONE_NEWUSER | _CLONE_NEWNS),
            # init nests user namespaces until a build can have none of its own
            _allow_when("unshare", "EQ", _CLONE_NEWUSER),
            # Nix's builder makes its mounts private
            _allow_when("unshare", "EQ", _CLONE_NEWNS),
            # the old root is detached after pivot_root, and a stage's tmpfs after the stage
            _allow_when("umount2", "EQ", _MNT_DETACH, index=1),
            # the jail's root: tmpfs, binds, /proc, and the change into it (Nix uses chroot)
            _allow("mount", "pivot_root", "chroot"),
            # the jail's host name, so that the host's does not show
            _allow("sethostname", "setdomainname"),
        ],
    }
