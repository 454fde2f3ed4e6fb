"""A started container's conversation: its job goes in, its frames come out.

The frames of `init/frames.py` go over the attached stdin and stdout; what init says on stderr is
kept for the reason why an attempt was lost. Who makes and removes the container is `engine.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from init.delegation import delegate
from init.frames import Broken, End, Frame, Ready
from init.wire import Decoder, FrameError, encode
from worker.cgroups import lower_memory
from worker.errors import AttemptFailed, ContainerFailed
from worker.room import Room

_STDOUT: Final = 1
_STDERR_BYTES: Final = 4096
#: Frames that wait here while the last one is being recorded; init waits beyond that.
_FRAMES_AHEAD: Final = 4
_SEND_SECONDS: Final = 30.0


class Container:
    """A started container whose init is ready for its one job."""

    def __init__(
        self, handle: DockerContainer, name: str, uid: int, scratch: Path, room: Room
    ) -> None:
        self.name = name
        self.uid = uid
        self.scratch = scratch
        self.room = room
        self.dead = asyncio.Event()
        self._handle = handle
        self._stream = handle.attach(stdin=True, stdout=True, stderr=True, logs=False)
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue(_FRAMES_AHEAD)
        self._stderr = b""
        self._damage: str | None = None
        self._memory: Path | None = None

    def hold(self, memory_bytes: int) -> None:
        """Lower the wall around it to what was reserved for it. Raises AttemptFailed."""
        if self._memory is None or memory_bytes >= self.room.memory_bytes:
            return
        try:
            lower_memory(self._memory, memory_bytes)
        except OSError as error:
            raise AttemptFailed(f"its memory could not be limited: {error}") from error

    async def send(self, frame: Frame) -> None:
        """Give it its job, or a word on it. Raises AttemptFailed when it is gone or deaf."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._stream.write_in(encode(frame))
        except TimeoutError:
            raise AttemptFailed(f"init did not read its job within {_SEND_SECONDS:g} s") from None
        except (ConnectionError, RuntimeError, AssertionError, aiohttp.ClientError) as error:
            raise AttemptFailed(f"the job could not be sent: {await self._why()}") from error

    async def frames(self, patience_seconds: float) -> AsyncIterator[Frame]:
        """What init reports, `End` last. Raises AttemptFailed when it ends in any other way.

        `patience_seconds` is the longest time between one frame and the next.
        """
        while True:
            try:
                async with asyncio.timeout(patience_seconds):
                    frame = await self._frames.get()
            except TimeoutError:
                raise AttemptFailed(f"init said nothing for {patience_seconds:g} s") from None
            match frame:
                case None:
                    raise AttemptFailed(await self._why())
                case Broken(reason):
                    raise AttemptFailed(f"init: {reason}")
                case _:
                    yield frame
                    if isinstance(frame, End):
                        return

    async def kill(self) -> None:
        """End it at once; no error when it has ended."""
        with suppress(DockerError):
            await self._handle.kill()

    @asynccontextmanager
    async def running(self, cgroup_root: Path, ready_seconds: float) -> AsyncIterator[None]:
        """Attach, start, give it its cgroups, wait for `Ready`. Raises ContainerFailed."""
        # Attached before the start, so that no word is missed; entering is what connects.
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(ready_seconds):
                    await self._stream.__aenter__()
                    stack.push_async_callback(self._stream.close)
                    await self._handle.start()
                    reader = asyncio.create_task(self._read(), name=f"read {self.name}")
                    stack.push_async_callback(_stop, reader)
                    await self._become_ready(cgroup_root)
            except TimeoutError:
                words = self._stderr.decode(errors="replace")
                what = f"not ready within {ready_seconds:g} s"
                raise ContainerFailed(self.name, what, words) from None
            yield

    async def _become_ready(self, cgroup_root: Path) -> None:
        pid = (await self._handle.show())["State"]["Pid"]
        if pid:
            given = delegate(pid, self.uid, cgroup_root)
            # around the part of it that is given away
            self._memory = cgroup_root / Path(given.folders["memory"]).parent
            await self._stream.write_in(encode(given))
        match await self._frames.get():
            case Ready():
                return
            case Broken(reason):
                raise ContainerFailed(self.name, "init is not ready", reason)
            case _:
                raise ContainerFailed(self.name, "init is not ready", await self._why())

    async def _read(self) -> None:
        """Turns what comes from the container into frames until its end."""
        decoder = Decoder()
        try:
            while (message := await self._stream.read_out()) is not None:
                if message.stream != _STDOUT:
                    self._stderr = (self._stderr + message.data)[-_STDERR_BYTES:]
                    continue
                for frame in decoder.feed(message.data):
                    await self._frames.put(frame)
            if decoder.pending:
                self._damage = f"{decoder.pending} bytes of a frame were cut off"
        except FrameError as error:
            self._damage = f"its words are no frames: {error}"
        except (ConnectionError, aiohttp.ClientError) as error:
            self._damage = f"the engine's connection broke: {error!r}"
        finally:
            self.dead.set()
        await self._frames.put(None)

    async def _why(self) -> str:
        """Why it ended without saying so."""
        words = [f"container {self.name} ended"]
        try:
            async with asyncio.timeout(5):
                status = (await self._handle.wait())["StatusCode"]
                state = (await self._handle.show())["State"]
            words[0] += f" with exit code {status}"
            if state.get("OOMKilled"):
                words.append("out of memory")
        except (DockerError, aiohttp.ClientError, TimeoutError) as error:
            words.append(f"and the engine does not say how: {error!r}")
        if self._damage:
            words.append(self._damage)
        if stderr := self._stderr.decode(errors="replace").strip():
            words.append(stderr)
        return "; ".join(words)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
