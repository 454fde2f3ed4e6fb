"""The system calls of a service that is confined, as a policy for nsjail. Pure.

An allow list: threads, files, memory, clocks and internet sockets. Anything else fails with ENOSYS,
as on a kernel that does not have it, and libraries fall back to an older call. So a service starts
no process, makes no namespace, mounts nothing, and opens no Unix socket: on the host's network the
abstract ones of other programs (containerd's among them) would be within reach.
"""

from __future__ import annotations

from typing import Final

_CLONE_THREAD: Final = 0x10000
_AF_UNIX: Final = 1
_AF_INET: Final = 2
_AF_INET6: Final = 10
_AF_NETLINK: Final = 16
_NETLINK_ROUTE: Final = 0
#: The kind of a socket, without the flags that stand beside it, and the one of a stream.
_KIND: Final = 0xF
_STREAM: Final = 1
_ENOSYS: Final = 38

#: Kafel's names: the kernel's functions `newfstat`, `newuname` … are the calls fstat, uname …
_ALLOWED: Final = """
execve exit exit_group futex futex_waitv gettid getpid getppid getpgid getpgrp getsid
set_robust_list get_robust_list set_tid_address rseq membarrier arch_prctl prctl
sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler getpriority
getcpu getrusage times sysinfo newuname getrlimit setrlimit prlimit64 getrandom restart_syscall
getuid geteuid getgid getegid getgroups getresuid getresgid capget capset
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigsuspend rt_sigpending sigaltstack
kill tgkill pause signalfd4
brk mmap munmap mprotect mremap madvise mincore msync mlock munlock
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time alarm getitimer setitimer
timer_create timer_settime timer_gettime timer_getoverrun timer_delete
timerfd_create timerfd_settime timerfd_gettime
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek
open openat openat2 creat close close_range dup dup2 dup3 fcntl flock ioctl
fsync fdatasync sync_file_range ftruncate truncate fallocate fadvise64 copy_file_range
sendfile64 newstat newlstat newfstat newfstatat statx statfs fstatfs access faccessat faccessat2
getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat
rename renameat renameat2 link linkat symlink symlinkat readlink readlinkat chmod fchmod
fchmodat umask utimensat
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 pipe pipe2 splice
bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown
sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
"""


def policy() -> str:
    """The whole policy, in Kafel's language."""
    internet = f"family == {_AF_INET} || family == {_AF_INET6}"
    routes = f"family == {_AF_NETLINK} && protocol == {_NETLINK_ROUTE}"
    allowed = [
        *_ALLOWED.split(),
        # A filter can't see clone3's flags: with ENOSYS every C library falls back to clone.
        f"clone(flags) {{ (flags & {_CLONE_THREAD:#x}) != 0 }}",
        f"socket(family, kind, protocol) {{ {internet} || ({routes}) }}",
        # an end of a pair of datagrams could send to any address, the abstract ones of others too
        f"socketpair(family, kind) {{ family == {_AF_UNIX} && (kind & {_KIND:#x}) == {_STREAM} }}",
    ]
    return f"ALLOW {{ {', '.join(allowed)} }} DEFAULT ERRNO({_ENOSYS})"
