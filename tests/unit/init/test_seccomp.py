"""The container's profile gives what user namespaces need, and nothing that was taken away."""

from __future__ import annotations

import json
import socket

from init.seccomp import profile


def rules(name: str) -> list[dict]:
    return [rule for rule in profile()["syscalls"] if name in rule["names"]]


def test_profile_is_json_and_refuses_by_default():
    assert json.loads(json.dumps(profile())) == profile()
    assert (profile()["defaultAction"], profile()["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile()["architectures"] == ["SCMP_ARCH_X86_64"]


def test_what_was_taken_away_is_nowhere():
    for name in (
        "ptrace", "process_vm_readv", "process_vm_writev", "io_uring_setup", "io_uring_enter",
        "bpf", "setns", "keyctl", "add_key", "userfaultfd", "perf_event_open", "fsopen",
        "move_mount", "open_tree", "open_by_handle_at", "init_module", "kexec_load", "reboot",
        "swapon", "syslog", "quotactl", "process_madvise", "pidfd_getfd",
    ):  # fmt: skip
        assert rules(name) == [], name


def test_namespaces_come_only_with_the_flags_that_are_needed():
    assert [rule["args"] for rule in rules("unshare")] == [
        [{"index": 0, "value": 0x10020000, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        [{"index": 0, "value": 0x10000000, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        [{"index": 0, "value": 0x20000, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
    ]
    assert [rule["args"][0]["value"] for rule in rules("clone")] == [0x7E020000, 0x10000000]
    assert [rule["args"] for rule in rules("umount2")] == [
        [{"index": 1, "value": 2, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]
    ]
    assert [rule["errnoRet"] for rule in rules("clone3")] == [38]


def test_sockets_are_of_families_that_programs_use_and_netlink_is_that_of_routes():
    """Two conditions on one argument would be two rules: the families are named one by one."""
    asked = [[(x["index"], x["value"]) for x in rule["args"]] for rule in rules("socket")]
    assert asked == [[(0, socket.AF_UNIX)], [(0, socket.AF_INET)], [(0, socket.AF_INET6)],
                     [(0, socket.AF_NETLINK), (2, socket.NETLINK_ROUTE)]]  # fmt: skip
    (pair,) = rules("socketpair")
    assert [(x["index"], x["value"]) for x in pair["args"]] == [(0, socket.AF_UNIX)]


def test_additions_to_dockers_list_are_these_alone():
    ours = profile()["syscalls"][13:]
    assert sorted({name for rule in ours for name in rule["names"]}) == [
        "chroot", "clone", "mount", "pivot_root", "setdomainname", "sethostname", "umount2",
        "unshare",
    ]  # fmt: skip
