"""A bridge that nobody uses, for an engine of the tests' own.

Without any (`--bridge=none`) an engine removes `docker0`, which is the machine's engine's. By the
kernel's own calls, as not every machine that has Docker has `ip`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_ADD_BRIDGE, _REMOVE_BRIDGE = 0x89A0, 0x89A1  # SIOCBRADDBR, SIOCBRDELBR
_SET_ADDRESS, _SET_MASK, _SET_FLAGS = 0x8916, 0x891C, 0x8914  # SIOCSIFADDR, …NETMASK, …FLAGS
_MASK = "255.255.255.252"


@contextmanager
def bridge() -> Iterator[str]:
    """Its name."""
    name = f"sand{os.getpid()}"
    # Out of the range that is for benchmarks of networks: nobody is reached there.
    address = f"198.19.{os.getpid() % 251}.1"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as calls:
        fcntl.ioctl(calls, _ADD_BRIDGE, name.encode() + b"\0")
        try:
            for call, text in ((_SET_ADDRESS, address), (_SET_MASK, _MASK)):
                packed = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
                fcntl.ioctl(calls, call, struct.pack("16s24s", name.encode(), packed))
            yield name
        finally:
            # Only one that is down can be removed.
            fcntl.ioctl(calls, _SET_FLAGS, struct.pack("16sH22x", name.encode(), 0))
            fcntl.ioctl(calls, _REMOVE_BRIDGE, name.encode() + b"\0")
