"""PID 1 of a container: `python3 -P -s -S -m init`.

Reads `Delegated`, answers `Ready`; reads one `Job` of a submission, answers with a frame for each
stage and `End`; or reads one `Build` of a builder's (`init/builds.py`). A failure of ours is a
`Broken` frame and exit code 70 (sysexits' EX_SOFTWARE).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from init import job, namespaces
from init.box import Box
from init.frames import Broken, Build, Delegated, Frame, Job, Ready
from init.pipes import moved_up
from init.wire import Decoder, FrameError, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

_BROKEN_EXIT_CODE: Final = 70
_CHUNK: Final = 1024 * 1024


class Channel:
    """The frames' two descriptors, taken out of every child's reach."""

    def __init__(self) -> None:
        self._from_worker = moved_up(0)
        self._to_worker = moved_up(1)
        null = os.open("/dev/null", os.O_RDWR)  # becomes 0, the lowest free one
        os.dup2(null, 1)
        self._frames = self._read()

    @property
    def fd(self) -> int:
        """Can be read, or has ended, when there is something to hear."""
        return self._from_worker

    def receive(self) -> Frame | None:
        """The next frame; None when the worker is gone."""
        return next(self._frames, None)

    def send(self, frame: Frame) -> None:
        view = memoryview(encode(frame))
        while view:
            view = view[os.write(self._to_worker, view) :]

    def _read(self) -> Iterator[Frame]:
        decoder = Decoder()
        while data := os.read(self._from_worker, _CHUNK):
            yield from decoder.feed(data)
        if decoder.pending:
            raise FrameError("the worker went away within a frame")


def serve(channel: Channel) -> None:
    """One container's life, from its first frame to its last."""
    delegated = channel.receive()
    if delegated is None:
        return
    if not isinstance(delegated, Delegated):
        raise FrameError(f"a {type(delegated).__name__} before the cgroups")
    namespaces.enter()
    box = Box(delegated)
    box.prepare()
    channel.send(Ready())
    work = channel.receive()
    if work is None:
        return
    match work:
        case Job():
            for frame in job.perform(box, work):
                channel.send(frame)
        case Build():
            from init import builds  # no submission needs it

            builds.perform(box, work, channel)
        case _:
            raise FrameError(f"a {type(work).__name__} instead of a job")


def main() -> int:
    """PID 1: it only waits, without any capability even in a namespace; its child does the work.

    The child enters a user namespace of its own, where it has all capabilities. PID 1 stays in
    the container's, so that who inspects the container sees a process that has none.
    """
    # PID 1 gets no signal that it does not handle: without this `docker stop` waits 10 s
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    child = os.fork()
    if child == 0:
        os._exit(_work())
    while True:
        pid, status = os.wait()  # orphans come here too
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


def _work() -> int:
    channel = Channel()
    try:
        serve(channel)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker has to hear of it
        import traceback

        traceback.print_exc()
        channel.send(Broken(f"{type(error).__name__}: {error}"))
        return _BROKEN_EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
