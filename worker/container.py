"""One container for one submission: the only place that speaks to the Docker engine.

What a container is stands in `spec.py`; here is one that lives as long as its block. The frames
of `init/frames.py` go over the attached stdin and stdout; what init says on stderr is kept for
the reason why an attempt was lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from init.delegation import delegate
from init.frames import Broken, Decoder, End, Frame, FrameError, Job, Ready, encode
from worker import cgroups
from worker.errors import AttemptFailed, ContainerFailed, EngineSilent, LeftBehind
from worker.room import Room
from worker.spec import LABEL_ROLE, LABEL_WORKER, ROLE, Plan, spec
from worker.uids import Uids

_LOGGER: Final = logging.getLogger(__name__)
_STDOUT: Final = 1
_STDERR_BYTES: Final = 4096
#: Frames that wait here while the last one is being recorded; init waits beyond that.
_FRAMES_AHEAD: Final = 4
_ENGINE_SECONDS: Final = 60.0
_SEND_SECONDS: Final = 30.0
#: How long a container that the engine does not remove is tried again, and how often.
_REMOVE_SECONDS: Final = 600.0
_REMOVE_PAUSE_SECONDS: Final = (0.1, 5.0)
#: When we are being stopped, removing takes no longer: the next start cleans up.
_STOPPING_SECONDS: Final = 10.0
#: A process that was killed needs a moment, longer the more memory it had.
_END_TRIES: Final = 40
_END_PAUSE_SECONDS: Final = 0.25
_GONE: Final = 404
#: The library's own status where no answer came.
_UNANSWERED: Final = 900
_APPARMOR_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")


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

    async def send(self, job: Job) -> None:
        """Give it its job. Raises AttemptFailed when it is gone, or does not read."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._stream.write_in(encode(job))
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


class Engine:
    """The Docker engine of this host, and what our containers on it have in common."""

    def __init__(self, docker: aiodocker.Docker, plan: Plan, socket: Path) -> None:
        self._docker = docker
        self._socket = socket
        self._plan = plan
        #: Names of the containers that somebody of this life sees to.
        self._own: set[str] = set()

    @asynccontextmanager
    async def container(self, uids: Uids) -> AsyncIterator[Container]:
        """A container that is ready, with a uid of its own; wholly removed at the end.

        Raises ContainerFailed when there is none to be had, LeftBehind when it can't be removed.
        """
        name = f"sandstream-{self._plan.worker}-{secrets.token_hex(4)}"
        self._own.add(name)
        try:
            with uids.lent() as uid:
                async with self._scratch(name, uid) as scratch, self._created(name, uid) as handle:
                    box = Container(handle, name, uid, scratch, self._plan.room)
                    async with box.running(self._plan.cgroups, self._plan.ready_seconds):
                        yield box
        finally:
            self._own.discard(name)

    async def remove_leftovers(self) -> int:
        """Remove this worker's containers and folders that nobody of this life sees to.

        Returns how many containers. Raises EngineSilent, LeftBehind.
        """
        label = f"{LABEL_WORKER}={self._plan.worker}"
        filters = json.dumps({"label": [label, f"{LABEL_ROLE}={ROLE}"]})
        try:
            listed = await self._docker.containers.list(all=1, filters=filters)
        except (DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineSilent(str(self._socket), str(error) or repr(error)) from error
        found = [handle for handle in listed if self._own.isdisjoint(_names(handle))]
        await asyncio.gather(*(self._remove(handle.id[:12], handle) for handle in found))
        for folder in self._plan.scratch.iterdir():
            if folder.name not in self._own:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return len(found)

    @asynccontextmanager
    async def _scratch(self, name: str, uid: int) -> AsyncIterator[Path]:
        folder = self._plan.scratch / name
        folder.mkdir(mode=0o700)
        try:
            os.chown(folder, uid, uid)
            yield folder
        finally:
            await _surely(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    @asynccontextmanager
    async def _created(self, name: str, uid: int) -> AsyncIterator[DockerContainer]:
        config = spec(self._plan, name, uid)
        creating = asyncio.create_task(self._docker.containers.create(config, name=name))
        try:
            # Never cancelled in the middle: the engine would make it all the same.
            handle = await asyncio.shield(creating)
        except (DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            if not _refused(error):  # it may have been made all the same
                await _surely(self._remove(name, self._docker.containers.container(name)))
            raise ContainerFailed(name, "the engine refuses", str(error) or repr(error)) from error
        except asyncio.CancelledError:
            with suppress(DockerError, aiohttp.ClientError, OSError, TimeoutError):
                await self._remove(name, await creating)
            raise
        try:
            yield handle
        except (DockerError, aiohttp.ClientError) as error:
            raise ContainerFailed(name, "the engine refuses", str(error)) from error
        finally:
            await _surely(self._remove(name, handle))

    async def _remove(self, name: str, handle: DockerContainer) -> None:
        pause, longest = _REMOVE_PAUSE_SECONDS
        deadline = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                await handle.delete(force=True, v=True)
                break
            except DockerError as error:
                if error.status == _GONE:
                    break
                cause = str(error)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                cause = repr(error)
            if time.monotonic() > deadline:
                raise LeftBehind(name, cause)
            _LOGGER.warning("container %s: not removed: %s; again in %g s", name, cause, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        await self._surely_ended(name, handle.id)
        if left := cgroups.remove(self._plan.cgroups, handle.id):
            _LOGGER.error("container %s: cgroups left behind: %s", name, left)


    async def _surely_ended(self, name: str, id_: str) -> None:
        """Nobody else gets the uid of one that lives. Raises LeftBehind."""
        for _ in range(_END_TRIES):
            if not (living := cgroups.end(self._plan.cgroups, id_)):
                return
            _LOGGER.error("container %s: the engine forgot it; killed %s", name, living)
            await asyncio.sleep(_END_PAUSE_SECONDS)
        raise LeftBehind(name, f"processes {living} do not end")


@asynccontextmanager
async def engine(socket: Path, plan: Plan) -> AsyncIterator[Engine]:
    """The engine at `socket`; AppArmor is looked for there, because it is the engine's own."""
    # Every attached container holds a connection: the usual 100 would be a limit of ours.
    connector = aiohttp.UnixConnector(str(socket), limit=0)
    timeout = aiohttp.ClientTimeout(total=_ENGINE_SECONDS)
    async with connector:
        docker = aiodocker.Docker("unix://localhost", connector=connector, timeout=timeout)
        try:
            options = await _security_options(docker, socket)
            has_apparmor = any("name=apparmor" in option for option in options)
            apparmor = await asyncio.to_thread(_apparmor_profile) if has_apparmor else ""
            yield Engine(docker, replace(plan, apparmor=apparmor), socket)
        finally:
            await docker.close()


def _apparmor_profile() -> str:
    """Ours where it is loaded (`deploy/apparmor/sandstream`), else none.

    One that is not loaded would make every start fail.
    """
    try:
        loaded = _APPARMOR_PROFILES.read_text().splitlines()
    except OSError:
        loaded = []
    if any(line.startswith("sandstream (") for line in loaded):
        return "sandstream"
    _LOGGER.warning("AppArmor: our profile is not loaded, so there is none; run `make setup`")
    return "unconfined"


async def _security_options(docker: aiodocker.Docker, socket: Path) -> list[str]:
    try:
        return (await docker.system.info()).get("SecurityOptions") or []
    except (DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise EngineSilent(str(socket), str(error) or repr(error)) from error


def _names(handle: DockerContainer) -> list[str]:
    return [name.removeprefix("/") for name in handle["Names"] or ()]


def _refused(error: Exception) -> bool:
    """Whether the engine has answered, so that we know that there is no container."""
    return isinstance(error, DockerError) and error.status != _UNANSWERED


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _surely(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end even while we are being cancelled, or for a while then; that follows."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,), timeout=_STOPPING_SECONDS if cancelled else None)
            if cancelled:
                task.cancel()
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled
