"""What a build tries against the walls around it, with code of its own as a real derivation."""

from __future__ import annotations

import textwrap
import uuid
from pathlib import Path

import pytest

from init.limits import MIB
from init.outcome import Outcome
from tests.builder.test_uncached import dependencies
from tests.builder.test_uncached import uncached as uncached  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.integration

_SHELL = """{ pkgs ? import <nixpkgs> {} }:
pkgs.mkShell {
  packages = [ pkgs.python3 ];
  attack = pkgs.runCommand "attack-%s" { code = ''%s''; } ''
    printf '%%s' "$code" > attack.py
    ${pkgs.python3}/bin/python3 -u attack.py >&2
    touch $out
  '';
}
"""
#: `inside(flags, act)` runs `act` in new namespaces, as their root with every capability.
_TOOLS = """
import ctypes, errno, os, time
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWCGROUP, NEWUSER, NEWNET = 0x20000, 0x2000000, 0x10000000, 0x40000000
def call(*args):
    ctypes.set_errno(0)
    result = libc.syscall(*args)
    return result if result >= 0 else -ctypes.get_errno()
def inside(flags, act):
    ready, told = os.pipe(), os.pipe()
    pid = call(56, flags | 17, 0, 0, 0, 0)
    if pid < 0:
        return errno.errorcode[-pid]
    if pid == 0:
        try:
            os.read(ready[0], 1)
            words = act()
        except BaseException as error:
            words = repr(error)
        os.write(told[1], words.encode())
        os._exit(0)
    for name, line in (("setgroups", "deny"), ("uid_map", "0 %d 1" % os.getuid()),
                       ("gid_map", "0 %d 1" % os.getgid())):
        with open("/proc/%d/%s" % (pid, name), "w") as file:
            file.write(line)
    os.write(ready[1], b".")
    os.close(told[1])
    words = b""
    while data := os.read(told[0], 4096):
        words += data
    os.waitpid(pid, 0)
    return words.decode()
def mount(kind, options=""):
    at = os.getcwd() + "/mounted-" + kind + options
    os.makedirs(at, exist_ok=True)
    result = call(165, b"none", at.encode(), kind.encode(), 0, options.encode())
    return at if result == 0 else ""
def groups():
    found = {name: mount("cgroup", name) for name in ("memory", "pids")}
    found["all"] = mount("cgroup2")
    return {name: at for name, at in found.items() if at}
def lift(groups):
    lifted = []
    for at in groups.values():
        for name in ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes", "pids.max",
                     "memory.max", "memory.kmem.tcp.limit_in_bytes"):
            try:
                with open(at + "/" + name, "r+") as file:
                    file.write(str(1 << 22 if name == "pids.max" else 1 << 40))
                lifted.append(name)
            except OSError:
                pass
    return lifted
def capabilities():
    with open("/proc/self/status") as file:
        return file.read().split("CapEff:")[1].split()[0]
def sockets():
    kinds = [("packet", 17, 3, 768), ("alg", 38, 5, 0), ("vsock", 40, 1, 0), ("unix", 1, 1, 0),
             ("inet", 2, 2, 0), ("inet6", 10, 1, 0)]
    kinds += [("netlink-%d" % number, 16, 3, number) for number in range(32)]
    return " ".join(name for name, *kind in kinds if call(41, *kind) >= 0)
def hide(groups):
    for name in ("memory", "pids", "all"):
        if name in groups and os.access(groups[name], os.W_OK):
            os.makedirs(groups[name] + "/hidden/deeper")
            with open(groups[name] + "/hidden/deeper/cgroup.procs", "w") as file:
                file.write("0")
            print("hidden in", name)
"""


def attack(uncached, code, **limits):
    """The report on a shell, one of whose derivations runs `code`."""
    code = (_TOOLS + textwrap.dedent(code)).replace("''", "'''").replace("${", "''${")
    return dependencies(uncached.submit(_SHELL % (uuid.uuid4().hex, code), **limits)).report


@pytest.fixture
def without_policy(uncached):
    """Jails that have lost what keeps a build from a cgroup namespace of its own."""
    weaken(uncached.code, "policy=NIX_POLICY,", "policy=None,")
    weaken(uncached.code, "user_namespaces=_USER_NAMESPACES,", "user_namespaces=None,")
    return uncached


@pytest.fixture
def with_namespaces(uncached):
    """Jails in which a build can have user namespaces of its own, and all capabilities in them."""
    weaken(uncached.code, "user_namespaces=_USER_NAMESPACES,", "user_namespaces=None,")
    return uncached


def weaken(code: Path, defence: str, instead: str) -> None:
    """Take a defence from the sandbox's own copy of init."""
    path = code / "init/nix_jails.py"
    text = path.read_text()
    assert defence in text
    path.write_text(text.replace(defence, instead))
    for compiled in (code / "init/__pycache__").glob("nix_jails.*"):
        compiled.unlink()


def test_build_gets_no_cgroup_file_system_in_any_namespace(uncached):
    report = attack(
        uncached,
        """
        print("mounted", list(groups()))
        for flags in (NEWUSER | NEWNS | NEWCGROUP, NEWUSER | NEWCGROUP, NEWUSER | NEWNS,
                      NEWUSER | NEWNS | NEWNET):
            print("mounted", inside(flags, lambda: str(list(groups()))))
        for flags in (NEWCGROUP, NEWUSER | NEWCGROUP, NEWNS | NEWCGROUP):
            print("unshared", errno.errorcode[-call(272, flags)])
        """,
    )
    assert report.outcome == Outcome.OK, report
    words = report.stderr.decode()
    found = [line.split(" ", 1)[1] for line in words.splitlines() if line.startswith("mounted")]
    # the policy's no comes before that of the depth
    assert found == ["[]", "EPERM", "EPERM", "ENOSPC", "ENOSPC"], words
    assert words.count("unshared EPERM") == 3, words


def test_limits_hold_for_a_build_that_lifts_those_it_can_reach(without_policy):
    code = """
        def act():
            found = groups()
            print("lifted", lift(found))
            held = []
            for _ in range(70):
                held.append(b"x" * (10 << 20))
            return "held %d MiB" % (10 * len(held))
        print(inside(NEWUSER | NEWNS | NEWCGROUP, act))
        """
    report = attack(without_policy, code, memory_bytes=300 * MIB)
    assert b"lifted [" in report.stderr, report  # or nothing was tried
    assert report.outcome == Outcome.MEMORY_LIMIT, report
    assert report.memory_peak_bytes <= 300 * MIB


def test_build_in_groups_of_its_own_making_is_counted_ended_and_removed(without_policy):
    code = """
        def act():
            found = groups()
            lift(found)
            hide(found)
            for number in range(400):
                if os.fork() == 0:
                    os.closerange(3, 100)  # its parent reads to the end of a pipe
                    os.setsid()
                    time.sleep(60)
            return "forked"
        print(inside(NEWUSER | NEWNS | NEWCGROUP, act))
        raise SystemExit(1)
        """
    report = attack(without_policy, code, processes=100)
    assert b"hidden in" in report.stderr, report
    assert report.outcome == Outcome.PROCESS_LIMIT, report


def test_file_of_a_process_in_a_group_of_its_own_making_counts(without_policy):
    code = """
        def act():
            hide(groups())
            with open("nameless", "wb") as file:
                os.unlink("nameless")
                for _ in range(200):
                    file.write(bytes(1 << 20))
                file.flush()
                time.sleep(8)
            return "hidden from the disk's limit"
        print(inside(NEWUSER | NEWNS | NEWCGROUP, act))
        """
    report = attack(without_policy, code, disk_bytes=100 * MIB)
    assert b"hidden in" in report.stderr, report
    assert report.outcome == Outcome.DISK_LIMIT, report


#: Sockets that a build may have, whatever its capabilities; netlink's 0 is NETLINK_ROUTE.
_SOCKETS = b"unix inet inet6 netlink-0\n"


def test_build_can_have_no_user_namespace_of_its_own(uncached):
    """Nix has made the one of its sandbox, at the greatest depth that the kernel allows."""
    report = attack(
        uncached,
        """
        others = (0, NEWNS, NEWNET, NEWNS | NEWNET, 0x20000000 | NEWNS, 0x8000000, 0x4000000)
        for flags in others:
            print("cloned", inside(NEWUSER | flags, capabilities))
        print("shared", *(-call(272, flags) for flags in (NEWUSER, NEWUSER | NEWNS)))
        print("own", capabilities(), -call(165, b"none", b"/tmp", b"tmpfs", 0, None))
        """,
    )
    assert report.outcome == Outcome.OK, report
    words = report.stderr.decode()
    assert words.count("cloned ENOSPC\n") == words.count("cloned") == 7, words
    assert "shared 1 1\n" in words
    assert "own 0000000000000000 1\n" in words


def test_build_opens_no_packet_socket_and_no_netlink_but_that_of_routes(uncached):
    report = attack(uncached, 'print("opened", sockets())')
    assert report.outcome == Outcome.OK, report
    assert b"opened " + _SOCKETS in report.stderr, report.stderr


def test_sockets_stay_closed_to_a_build_with_every_capability(with_namespaces):
    code = """
        act = lambda: capabilities() + " opened " + sockets()
        print(inside(NEWUSER | NEWNS | NEWNET, act))
        """
    report = attack(with_namespaces, code)
    assert report.outcome == Outcome.OK, report
    assert b"ffffffffff opened " + _SOCKETS in report.stderr, report.stderr
