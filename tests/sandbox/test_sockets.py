"""What a run holds in buffers of sockets: sent, not yet received, and bounded by a limit of its."""

from __future__ import annotations

import pytest

from init.frames import Case
from init.limits import MIB
from init.outcome import Outcome

pytestmark = pytest.mark.integration

#: Fills sockets of one kind until nothing more is taken, or far more than is allowed has been.
_FILL = b"""#!/usr/bin/env python3
import socket, sys
kind, enough, large = sys.argv[1], int(sys.argv[2]), bytes(32_000)
held, ends, idle = 0, [], 0
def fill(sender):
    sent = 0
    while True:
        try:
            sent += sender.send(large)
        except BlockingIOError:
            return sent
def pair():
    if kind == "tcp":
        server = socket.create_server(("127.0.0.1", 0))
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]
    return socket.socketpair(socket.AF_UNIX)
def wide(*sockets):
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        one.setblocking(False)
    ends.extend(sockets)
def udp():
    sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    wide(sender, receiver)
    receiver.bind(("127.0.0.1", 0))
    for _ in range(300):
        sender.sendto(large, receiver.getsockname())
    return 0
def stream():
    one, other = pair()
    wide(one, other)
    return fill(one) + fill(other)
for _ in range(60 if kind == "udp" else 400):
    held += (udp if kind == "udp" else stream)()
    if held > enough:
        break
for end in ends if kind == "udp" else ():
    # a datagram that was dropped was sent as well: only what is there was held
    try:
        while True:
            held += len(end.recv(1 << 16))
    except BlockingIOError:
        pass
print(held)
"""


@pytest.mark.parametrize("kind", ["tcp", "udp", "unix"])
def test_buffers_of_sockets_count(sandbox, kind):
    """Before there was a limit a run of 64 MiB held as much as it liked, and was `ok`."""
    case = Case(args=(kind, str(400 * MIB)))
    run = sandbox.run(_FILL, case, memory_bytes=64 * MIB, open_files=1024).run
    if run.outcome != Outcome.MEMORY_LIMIT:
        assert run.outcome == Outcome.OK, run
        # one connection must be able to do its work
        assert MIB < int(run.stdout) <= 64 * MIB


def test_one_connection_has_the_buffers_that_it_has_elsewhere(sandbox):
    script = b"""#!/usr/bin/env python3
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(server.getsockname())
other = server.accept()[0]
threading.Thread(target=one.sendall, args=(bytes(200_000_000),), daemon=True).start()
count = 0
while count < 200_000_000:
    count += len(other.recv(1 << 20))
print(count)
"""
    run = sandbox.run(script, memory_bytes=512 * MIB).run
    assert (run.outcome, run.stdout) == (Outcome.OK, b"200000000\n"), run


def test_netlink_that_passes_messages_between_programs_is_refused(sandbox):
    script = b"""#!/usr/bin/env python3
import socket
for number in range(32):
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number)
        print(number, end=" ")
    except PermissionError:
        pass
print(socket.if_nameindex())
"""
    assert sandbox.run(script).run.stdout == b"0 [(1, 'lo')]\n"
