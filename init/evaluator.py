"""The evaluator's container: `python3 -P -s -S -m init.evaluator`.

Evaluates shells as another user than the store's, without network and without any capability,
each in a jail whose only way out is the socket of its job's own daemon. One connection is one
job: the builder sends `Job`, and `DependenciesDone` answers it; the end of the builder's side
stops the job. A failure of ours is answered with `Broken`.

Two sockets, two programs: `socket` builds the shell, `instantiate` only writes its derivations
(their path is the report's stdout), for a builder that fetches before it builds.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from init import nix, nix_answer, stoppable, tree
from init.frames import Broken, Delegated, DependenciesDone, Frame, Job
from init.limits import Stage
from init.wire import Decoder, FrameError, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from init.frames import Report

    Program = Callable[[Job, Delegated, int], DependenciesDone]

SOCKET: Final = "evaluator/socket"
INSTANTIATE: Final = "evaluator/instantiate"
DELEGATED: Final = "evaluator/delegated"
_RUN: Final = Path("/run/builder")
_CGROUPS: Final = "/cgroup"
_WAIT_SECONDS: Final = 30.0
_CHUNK: Final = 1024 * 1024
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


def delegated(file: Path) -> Delegated:
    """The cgroups that the host gave us once this container ran. Raises TimeoutError."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if file.exists():
            for frame in Decoder().feed(file.read_bytes()):
                if isinstance(frame, Delegated):
                    return frame
        time.sleep(0.01)
    raise TimeoutError(f"nobody delegated cgroups to us: no {file}")


def peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid


def receive(connection: socket.socket) -> Job | None:
    """The one job; None when the builder has gone away. Raises FrameError."""
    decoder = Decoder()
    while data := connection.recv(_CHUNK):
        for frame in decoder.feed(data):
            if isinstance(frame, Job):
                return frame
            raise FrameError(f"a {type(frame).__name__} instead of a job")
    return None


def build(job: Job, groups: Delegated, stop_fd: int) -> DependenciesDone:
    """One shell's environment."""
    return nix_answer.done(evaluate(job, groups, stop_fd, nix.script()))


def instantiate(job: Job, groups: Delegated, stop_fd: int) -> DependenciesDone:
    """One shell's derivations; what Nix says is explained only where it failed."""
    report = evaluate(job, groups, stop_fd, nix.instantiate_script())
    return DependenciesDone(nix_answer.instantiated(report))


def evaluate(job: Job, groups: Delegated, stop_fd: int, program: str) -> Report:
    """Run a program of ours in a jail with files, cgroup and HOME of its own."""
    (name,) = tree.parts(job.submission_id)
    asked = job.limits[Stage.DEPENDENCIES]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="files-"))
        tree.write(folder, job.files)
        jail = nix.evaluator_jail(
            uid=os.getuid(),
            files=folder,
            socket=str(_RUN / "jobs" / name / "socket"),
            program=program,
        )
        return stoppable.run(
            groups,
            name,
            jail,
            replace(asked, stdout_bytes=nix.MAX_OUTPUT_BYTES),
            stop_fd=stop_fd,
            cgroups=_CGROUPS,
        )


def answer(connection: socket.socket, groups: Delegated, program: Program) -> None:
    """Perform the one job of a connection."""
    try:
        job = receive(connection)
        if job is None:
            return
        frame: Frame = program(job, groups, connection.fileno())
    except Exception as error:  # noqa: BLE001 - whatever it is, the builder has to hear of it
        traceback.print_exc()
        frame = Broken(f"{type(error).__name__}: {error}")
    connection.sendall(encode(frame))


def listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(0o666)  # who may ask is decided by uid, not by the socket's mode
    server.listen(128)
    return server


def serve(servers: dict[socket.socket, Program], groups: Delegated, builder_uid: int) -> None:
    """A process for each job: it ends with it, so that nothing of one is left for the next."""
    while True:
        for server in select.select([*servers], [], [])[0]:
            connection, _ = server.accept()
            with connection:
                if peer_uid(connection) != builder_uid:
                    print(f"evaluator: refused uid {peer_uid(connection)}", file=sys.stderr)  # noqa: T201
                    continue
                if os.fork() == 0:
                    for each in servers:
                        each.close()
                    perform(connection, groups, servers[server])


def perform(connection: socket.socket, groups: Delegated, program: Program) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        answer(connection, groups, program)
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    # PID 1 gets no signal that it does not handle: without this `docker stop` waits 10 s
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    groups = delegated(_RUN / DELEGATED)
    # the one that others wait for comes last
    instantiates = listen(_RUN / INSTANTIATE)
    servers: dict[socket.socket, Program] = {
        instantiates: instantiate,
        listen(_RUN / SOCKET): build,
    }
    serve(servers, groups, int(os.environ["SANDSTREAM_BUILDER_UID"]))


if __name__ == "__main__":
    main()
