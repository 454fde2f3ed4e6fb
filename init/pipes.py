"""The descriptors between init and a program: where its input is, and where its output goes."""

from __future__ import annotations

import _socket
import fcntl
import os
from dataclasses import dataclass, field
from typing import Final

#: Ours are above these, so that none is in the way when a child's are put in their places.
_OWN_FDS_FROM: Final = 64
_CHUNK: Final = 256 * 1024


@dataclass(slots=True)
class Sink:
    """The read end of a pipe: keeps bytes up to a limit, counts them all."""

    fd: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    total: int = 0

    def drain(self) -> bool:
        """Take what is there. False at the end of the stream."""
        return self._take() != b""

    def finish(self) -> None:
        """Take what is left when no writer is alive, up to and beyond the limit.

        It does not wait for the end of the stream: a descriptor that was sent through a socket
        and never received keeps a pipe open until the kernel collects it.
        """
        while not self.is_over and self._take():
            pass

    def _take(self) -> bytes | None:
        """What is there; None when there is nothing yet, empty at the end of the stream."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return None
        self.total += len(chunk)
        self.data += chunk[: max(0, self.limit - len(self.data))]
        return chunk

    @property
    def is_over(self) -> bool:
        return self.total > self.limit


def fixed(data: bytes) -> int:
    """A descriptor to read `data` from: a sealed file in memory, from its beginning.

    A file and not a pipe, so nobody has to write while the program runs, and one that ignores
    its stdin blocks nobody. Sealed, as the program could open it again for writing.
    """
    fd = os.memfd_create("stdin", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    return moved_up(reader)


def moved_up(fd: int) -> int:
    """The same open file at a descriptor out of a child's way, not inherited."""
    up = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OWN_FDS_FROM)
    os.close(fd)
    return up


def pipe() -> tuple[int, int]:
    """A pipe's read end, which never blocks, and its write end."""
    reader, writer = map(moved_up, os.pipe())
    os.set_blocking(reader, False)
    return reader, writer


def proof() -> tuple[int, int]:
    """As `pipe`, but nobody can take out what was put in, or open an end again.

    A pipe that the jail's PID 1 holds can be opened by its name in /proc, and read there first.
    """
    reader, writer = (moved_up(end.detach()) for end in _socket.socketpair())
    os.set_blocking(reader, False)
    return reader, writer
