"""Shows where it runs: nothing of its environment stays behind, and there is no network."""

import os
import socket
import sys

print(f"Python {sys.version.split()[0]} as uid {os.getuid()}, pid {os.getpid()}")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print(f"network: {error.strerror or error}")
