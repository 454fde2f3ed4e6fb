"""The jail of a service: its command line, and what the kernel lets a program in it do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from init.jail import Bind
from sandstream import calls, confined, leftovers, runtime
from sandstream.confined import Confined
from sandstream.stack import StackFailedError, _may_listen
from sandstream.state import CHECKOUT, State
from streams.server import ServerConfig, _prepare, passwords

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
UID = 31_499

#: Tries what it is told to, and prints what came of each.
PROBE = """
import ctypes, json, os, socket, sys, threading

libc = ctypes.CDLL(None, use_errno=True)


def call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "failed")


def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def thread():
    one = threading.Thread(target=int)
    one.start()
    one.join()


def internet():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


TRIES = {
    "fork": fork,
    "program": lambda: os.waitpid(
        os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", ""], {}), 0
    ),
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "datagrams": lambda: [one.close() for one in socket.socketpair(type=socket.SOCK_DGRAM)],
    "packets": lambda: [one.close() for one in socket.socketpair(type=socket.SOCK_SEQPACKET)],
    "kernel events": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close(),
    "user namespace": lambda: call(libc.unshare(0x10000000)),
    "file in memory": lambda: os.close(os.memfd_create("x")),
    "inotify": lambda: call(min(libc.inotify_init(), 0)),
    "thread": thread,
    "internet": internet,
    "pair": lambda: [one.close() for one in socket.socketpair()],
    # last: whoever is traced stops at each signal, a child's end among them
    "trace me": lambda: call(libc.ptrace(0, 0, 0, 0)),
}
found = {}
for name, attempt in TRIES.items():
    try:
        attempt()
        found[name] = "done"
    except OSError as error:
        found[name] = os.strerror(error.errno)
print(json.dumps(found))
"""
#: What a service needs.
NEEDED = {"thread", "internet", "pair"}


def python(*others: Path) -> Confined:
    """A jail for Python alone."""
    paths = [path for path in (*runtime.interpreter(), *others) if path.exists()]
    return Confined("probe", UID, tuple(Bind(str(path.resolve()), str(path)) for path in paths))


def run(launcher: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    argv = [*launcher, sys.executable, "-c", code]
    return subprocess.run(argv, env={}, capture_output=True, text=True, check=False)


def test_the_command_line_of_a_jail(monkeypatch):
    monkeypatch.setattr(runtime, "nsjail", lambda: "/nsjail")
    jail = Confined("api", 31_001, (Bind("/a", "/b"), Bind("/c", "/d", writable=True)), cwd="/b")
    assert jail.launcher() == (
        "/nsjail",
        "--mode", "e",
        "--quiet",
        "--time_limit", "0",
        "--nice_level", "0",
        "--skip_setsid",
        "--keep_env",
        "--hostname", "sandstream-api",
        "--user", "31001",
        "--group", "31001",
        "--cwd", "/b",
        "--disable_clone_newuser",
        "--disable_clone_newnet",
        "--disable_clone_newpid",
        "--disable_proc",
        "--rlimit_nofile", "hard",
        "--rlimit_as", "hard",
        "--rlimit_cpu", "hard",
        "--rlimit_fsize", "hard",
        "--rlimit_core", "0",
        "--bindmount", "/dev/null:/dev/null",
        "--bindmount_ro", "/dev/urandom:/dev/urandom",
        "--bindmount_ro", "/usr/bin/setpriv:/usr/bin/setpriv",
        "--bindmount_ro", "/a:/b",
        "--bindmount", "/c:/d",
        "--seccomp_string", calls.policy(),
        "--",
        "/usr/bin/setpriv", "--pdeathsig", "clear",
    )  # fmt: skip


@ROOT
def test_the_policy_leaves_threads_and_the_internet_and_takes_the_rest():
    launcher = python().launcher()
    refused = json.loads(run(launcher, PROBE).stdout)
    assert {name for name, came in refused.items() if came == "done"} == NEEDED
    # Without it the same program in the same jail does all of that.
    at = launcher.index("--seccomp_string")
    done = json.loads(run((*launcher[:at], *launcher[at + 2 :]), PROBE).stdout)
    assert set(done.values()) == {"done"}


@ROOT
def test_nsjail_becomes_the_service_with_its_pid_and_its_status():
    code = "import os; print(os.getpid(), os.getppid(), os.getuid(), os.getgroups()); os._exit(7)"
    with subprocess.Popen(
        [*python().launcher(), sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        out, _ = process.communicate()
    assert out.split(maxsplit=3) == [str(process.pid), str(os.getpid()), str(UID), "[]\n"]
    assert process.returncode == 7


@ROOT
def test_a_checkout_below_a_home_that_others_can_not_enter_can_be_run(tmp_path):
    home = tmp_path / "home"
    (home / "checkout" / "api").mkdir(parents=True)
    (home / "checkout" / "secret").mkdir()
    (home / "checkout" / "api" / "code.py").write_text("print('ran')")
    home.chmod(0o700)
    code = f"""
import os, runpy
runpy.run_path({str(home / "checkout" / "api" / "code.py")!r})
print(os.listdir({str(home / "checkout")!r}))
"""
    done = run(python(home / "checkout" / "api").launcher(), code)
    assert done.stdout == "ran\n['api']\n", done.stderr


@ROOT
def test_a_service_lives_on_when_who_started_it_is_killed():
    """`make up` may be killed for want of memory; the next one ends what it has left."""
    child = [*python().launcher(), sys.executable, "-c", "import time; time.sleep(60)"]
    code = f"""
import subprocess, sys, time
child = subprocess.Popen({child!r}, stdout=subprocess.DEVNULL)
def started():
    return open(f"/proc/{{child.pid}}/cmdline").read().startswith(sys.executable)

for _ in range(500):
    if started():
        break
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        born = leftovers.birth(pid)
        parent.kill()
    time.sleep(0.5)
    assert leftovers.birth(pid) == born
    assert born is not None
    os.kill(pid, signal.SIGKILL)


def test_no_two_services_and_no_two_stacks_share_a_user(tmp_path):
    states = (State(tmp_path / "a"), State(tmp_path / "b"))
    uids = {confined.uid(state, name) for state in states for name in confined.NAMES}
    assert len(uids) == 6
    # Beyond what adduser and systemd give to people and services of a host begins at 60,000.
    assert min(uids) >= 31_000
    assert 31_000 + 4095 * confined._UIDS + 3 < 60_000


def test_a_service_sees_its_own_code_and_its_own_password(tmp_path):
    state = State(tmp_path)
    state.passwords.mkdir()
    for name in ("api", "projector", "worker"):
        (state.passwords / name).touch()
    for name, other in (("api", "projector"), ("projector", "api")):
        told = {"SANDSTREAM_NATS_PASSWORD_FILE": str(state.passwords / name)}
        jail = confined.service(name, state, told)
        targets = {bind.target for bind in jail.binds}
        assert {str(CHECKOUT / each) for each in (name, "streams", "init")} < targets
        assert str(state.passwords / name) in targets
        for hidden in (CHECKOUT, CHECKOUT / other, state.passwords, state.passwords / other):
            assert str(hidden) not in targets
        assert not any(bind.writable for bind in jail.binds)


@ROOT
def test_the_api_gets_a_copy_of_the_keys_where_its_owner_has_put_them(tmp_path):
    state, keys = State(tmp_path / "state"), tmp_path / "keys"
    keys.write_text("caller key")
    keys.chmod(0o600)
    told = {"SANDSTREAM_KEYS_FILE": str(keys)}
    copy = state.passwords / "sandstream_keys_file"
    assert Bind(str(copy), str(keys)) in confined.service("api", state, told).binds
    assert copy.stat().st_uid == confined.uid(state, "api")
    sees = {bind.target for bind in confined.service("projector", state, told).binds}
    assert str(keys) not in sees


def test_the_event_logs_server_sees_its_folder_and_its_binary(tmp_path):
    jail = confined.event_log(ServerConfig(tmp_path / "nats", {}, uid=UID))
    assert [bind.target for bind in jail.binds if bind.writable] == [str(tmp_path / "nats")]
    places = [Path(bind.target) for bind in jail.binds if not bind.writable]
    assert [place.name for place in places if place.is_relative_to(CHECKOUT)] == ["nats-server"]


@ROOT
def test_what_a_server_of_root_has_left_becomes_the_servers_own_and_no_link_is_followed(tmp_path):
    config = ServerConfig(tmp_path / "nats", passwords(tmp_path / "secrets.json"), uid=UID)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("ours")
    deep = config.store / "jetstream" / "$G" / "streams"
    deep.mkdir(parents=True)
    (deep / "1.blk").write_text("x")
    (deep / "link").symlink_to(outside / "file")
    (deep / "folder").symlink_to(outside)
    config.folder.joinpath("nats.log").write_text("of before\n")
    _prepare(config)
    own = [config.file, config.log, config.ports, config.store, deep, deep / "1.blk"]
    assert {path.lstat().st_uid for path in (*own, deep / "link")} == {UID}
    assert config.log.read_text() == "of before\n"
    assert config.file.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_uid for path in (config.folder, outside, outside / "file")} == {0}


def test_a_jail_has_nothing_of_what_a_persons_environment_means():
    ours = {"HOME": "/root", "PATH": "/bin", "DOCKER_HOST": "unix:///d", "TZ": "UTC", "A": "1"}
    assert confined.environment(ours) == {"TZ": "UTC", "A": "1"}


def test_a_port_that_takes_a_privilege_is_refused_with_what_to_do():
    _may_listen(0, 8000)
    with pytest.raises(
        StackFailedError, match=r"port 80 is below 1024.*ip_unprivileged_port_start"
    ):
        _may_listen(80, 0)


@ROOT
def test_code_that_other_users_can_not_read_is_said_before_anything_starts(monkeypatch, tmp_path):
    runtime.prepare()
    monkeypatch.setattr(runtime, "CHECKOUT", tmp_path)
    for name in ("api", "projector", "streams", "init"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "api" / "app.py").touch(mode=0o600)
    with pytest.raises(runtime.NotConfinableError, match=r"api/app\.py: run `chmod -R go\+rX api"):
        runtime.prepare()
