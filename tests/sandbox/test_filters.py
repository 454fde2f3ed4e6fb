"""Each list of calls by itself: the container's profile, and the policy of the jail in it.

In a jail most of these calls are refused three times: by the policy, by the profile, and because
a program has no capability. A test in there can't tell which it was, and would not notice a list
that has become empty. So here the caller is root with every capability, in a container that has
only the list in question; and one without any, where each call has to reach the kernel.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from init.jail import STAGE_POLICY
from init.seccomp import profile
from tests.steps import program, told

pytestmark = pytest.mark.integration

#: Arguments with which root does nothing that outlives the process or leaves the container.
CALLS = {
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount2": "call(166, b'/tmp', 2)",
    "chroot": "call(161, b'/tmp')",
    "pivot_root": "call(155, b'/nowhere', b'/nowhere')",
    "unshare user and mount": "call(272, 0x10020000)",
    "unshare user": "call(272, 0x10000000)",
    "unshare cgroup": "call(272, 0x02000000)",
    "unshare net": "call(272, 0x40000000)",
    "setns": "call(308, 0, 0)",
    "ptrace": "call(101, 0, 0, 0, 0)",
    "process_vm_readv": "call(310, 1, 0, 0, 0, 0, 0)",
    "process_vm_writev": "call(311, 1, 0, 0, 0, 0, 0)",
    "kcmp": "call(312, 1, 1, 99, 0, 0)",
    "keyctl": "call(250, 0, -3, 1)",
    "add_key": "call(248, b'user', b'x', b'y', 1, -2)",
    "request_key": "call(249, 0, 0, 0, 0)",
    "bpf": "call(321, 99, 0, 0)",
    "perf_event_open": "call(298, 0, 0, 0, 0, 0)",
    "userfaultfd": "call(323, 0)",
    "sethostname": "call(170, b'x', 1)",
    "setdomainname": "call(171, b'x', 1)",
    "fsopen": "call(430, b'tmpfs', 0)",
    "open_tree": "call(428, -100, b'/', 1)",
    "move_mount": "call(429, -1, 0, -1, 0, 0)",
    "mount_setattr": "call(442, -1, 0, 0, 0, 0)",
    "reboot": "call(169, 0, 0, 0, 0)",
    "swapon": "call(167, 0, 0)",
    "syslog": "call(103, 10, 0, 0)",
    "acct": "call(163, 1)",
    "settimeofday": "call(164, 1, 0)",
    "quotactl": "call(179, 0, 0, 0, 0)",
    "open_by_handle_at": "call(304, -1, 0, 0)",
    "init_module": "call(175, 0, 0, 0)",
    "finit_module": "call(313, -1, 0, 0)",
    "delete_module": "call(176, 1, 0)",
    "kexec_load": "call(246, 0, 0, 0, 0xff00)",
    "iopl": "call(172, 9)",
    "personality": "call(135, 0x0400000)",
    "mbind": "call(237, 0, 0, 0, 0, 0, 0)",
    "vsock": "call(41, 40, 1, 0)",
    "packet": "call(41, 17, 3, 0)",
    "alg": "call(41, 38, 5, 0)",
    "netlink for users": "call(41, 16, 3, 2)",
    "netlink for filters": "call(41, 16, 3, 12)",
}
#: What the profile has to give, so that a jail can be made at all: only the policy takes it back.
FOR_JAILS = {
    "mount", "umount2", "chroot", "pivot_root", "unshare user and mount", "unshare user",
    "sethostname", "setdomainname",
}  # fmt: skip
#: What only the profile refuses. The policy is loaded within it, and says what it takes back.
NOT_IN_POLICY = {
    "reboot", "swapon", "syslog", "acct", "settimeofday", "quotactl", "open_by_handle_at",
    "init_module", "finit_module", "delete_module", "kexec_load", "iopl", "personality", "mbind",
    "vsock", "packet", "alg", "netlink for users", "netlink for filters",
}  # fmt: skip
#: Each in a process of its own: one that has left its root or its namespace is no more of use.
#: The capabilities that a call here asks for, and their numbers in linux/capability.h.
_CAPABILITIES = {
    "DAC_READ_SEARCH": 2, "SETPCAP": 8, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_CHROOT": 18,
    "SYS_PTRACE": 19, "SYS_PACCT": 20, "SYS_ADMIN": 21, "SYS_BOOT": 22, "SYS_TIME": 25,
    "SYSLOG": 34,
}  # fmt: skip
_NAMESPACES = ("user", "ns", "pid", "net", "ipc", "uts", "cgroup")
_FORKED = "if (pid := os.fork()) == 0:\n {}\n os._exit(0)\nos.waitpid(pid, 0)"


def _held() -> list[str]:
    """Of these capabilities the ones that this machine's root has itself, as a guest may not."""
    status = Path("/proc/self/status").read_text()
    bound = int(status.partition("CapBnd:")[2].split()[0], 16)
    return [name for name, number in _CAPABILITIES.items() if bound >> number & 1]


def attempted(image: str, *before: str, seccomp: str) -> dict[str, str]:
    """What root with every capability is told of each call."""
    code = "\n".join(_FORKED.format(f"tell({name!r}, {code!r})") for name, code in CALLS.items())
    argv = [
        "docker", "run", "--rm", "--network", "none",
        "--label", "sandstream.role=test",
        "--user", "0:0", *(f"--cap-add={name}" for name in _held()),
        "--security-opt", f"seccomp={seccomp}",
        "--security-opt", "apparmor=unconfined",
        "--tmpfs", "/tmp",
        "--entrypoint", "/usr/bin/env", image, *before, "/usr/bin/python3", "-c", program({}, code),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, check=False)
    found = told(done.stdout)
    assert found.keys() == CALLS.keys(), done.stderr
    assert not [answer for answer in found.values() if answer.startswith("mistake")], found
    return found


@pytest.fixture(scope="module")
def reached(sandbox) -> set[str]:
    """The calls of which this kernel has something else to say than that they are refused."""
    found = attempted(sandbox.image, seccomp="unconfined")
    there = {name for name, answer in found.items() if answer not in {"EPERM", "ENOSYS"}}
    # a guest's root may lack the capability for one or the other, and a kernel the call itself
    assert there >= FOR_JAILS | {"ptrace", "bpf", "keyctl", "open_by_handle_at", "vsock"}, found
    assert len(there) > len(CALLS) / 2, found
    return there


def test_profile_alone_refuses_what_a_jail_does_not_need(sandbox, tmp_path, reached):
    file = tmp_path / "seccomp.json"
    file.write_text(json.dumps(profile()))
    found = attempted(sandbox.image, seccomp=str(file))
    assert {name: found[name] for name in reached - FOR_JAILS} == dict.fromkeys(
        reached - FOR_JAILS, "EPERM"
    )
    assert "EPERM" not in {found[name] for name in FOR_JAILS}, found


def test_policy_alone_takes_back_what_the_profile_gave(sandbox, reached):
    jail = (
        "/usr/local/bin/nsjail", "--mode", "o", "--really_quiet", "--keep_caps", "--keep_env",
        "--disable_proc", "--disable_rlimits", "--skip_setsid",
        *(f"--disable_clone_new{kind}" for kind in _NAMESPACES),
        "--seccomp_string", STAGE_POLICY, "--",
    )  # fmt: skip
    found = attempted(sandbox.image, *jail, seccomp="unconfined")
    taken = reached - NOT_IN_POLICY
    assert taken >= FOR_JAILS
    assert {name: found[name] for name in taken} == dict.fromkeys(taken, "EPERM")
