"""One container for one submission, made and wholly removed by the Docker engine of this host.

What a container is stands in `spec.py`, what is said with it in `container.py`; here is one that
lives as long as its block.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from init import folders
from worker import cgroups
from worker.container import Container
from worker.errors import ContainerFailed, EngineSilent, LeftBehind
from worker.spec import LABEL_ROLE, LABEL_WORKER, ROLE, Plan, spec
from worker.uids import Uids

_LOGGER: Final = logging.getLogger(__name__)
_ENGINE_SECONDS: Final = 60.0
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
                await asyncio.to_thread(_remove_tree, folder)
        return len(found)

    @asynccontextmanager
    async def _scratch(self, name: str, uid: int) -> AsyncIterator[Path]:
        folder = self._plan.scratch / name
        folder.mkdir(mode=0o700)
        try:
            os.chown(folder, uid, uid)
            yield folder
        finally:
            await _surely(asyncio.to_thread(_remove_tree, folder))

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


def _remove_tree(folder: Path) -> None:
    """What a submission wrote; where it can't all go, that is told and stops nobody."""
    try:
        folders.remove(str(folder))
    except OSError as error:
        _LOGGER.warning("%s can't be removed: %s", folder, error)


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
