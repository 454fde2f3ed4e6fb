"""A Docker engine of the tests' own, which may be killed: the machine's holds others' containers.

Everything that it keeps is in one folder. It shares nothing with the machine's engine but the
images, which are copied. As where systemd starts it, containerd is a process beside it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from nix import images
from tests.killing import kill
from tests.reliability.bridge import bridge

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PAUSE_SECONDS = 0.2
_DOCKER0 = Path("/sys/class/net/docker0")
_CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


class Engine:
    """`dockerd` on a folder; started again when it dies, as systemd does it."""

    def __init__(self, folder: Path, bridge: str) -> None:
        self.folder = folder
        self._bridge = bridge
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def host(self) -> str:
        """What DOCKER_HOST is to be."""
        return f"unix://{self.folder}/socket"

    @property
    def pid(self) -> int | None:
        """None while it is down."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It answers when the block begins."""
        async with AsyncExitStack() as stack:
            config = self.folder / "containerd.toml"
            config.write_text(_CONTAINERD)
            containerd = await self._spawn(*_containerd(self.folder))
            stack.callback(self._end_shims)
            stack.push_async_callback(_stop, containerd)
            self._process = await self._spawn(*_dockerd(self.folder, self._bridge))
            stack.push_async_callback(self._stop)
            keeper = asyncio.create_task(self._keep())
            stack.push_async_callback(_cancel, keeper)
            await self.answers()
            yield

    async def answers(self) -> None:
        """Wait until it does."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if await asyncio.to_thread(_succeeds, "docker", "--host", self.host, "version"):
                return
            await asyncio.sleep(0.05)
        words = (self.folder / "log").read_text()[-2000:]
        raise AssertionError(f"dockerd did not answer in {_START_SECONDS:g} s:\n{words}")

    def leftovers(self) -> list[str]:
        """Mounts and processes of containers: there are none where there is no container.

        What ends in `-init/merged` is never a container's: the engine mounts it for a moment to
        prepare one, and leaves it when it is killed in that moment.
        """
        own = {f"{self.folder}/data", f"{self.folder}/run/netns/default"}
        left = (mount for mount in mounts(self.folder) if not mount.endswith("-init/merged"))
        return [
            *(f"mount {mount}" for mount in left if mount not in own),
            *(f"process below {pid}" for pid in self._shims() if _has_children(pid)),
        ]

    def _shims(self) -> list[int]:
        """The engine's own process beside each container; without one it has lost track of it.

        It does so now and then when it is killed: a few idle megabytes, and no process of ours.
        """
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_text().split("\0")
                if "shim" in words[0] and f"{self.folder}/containerd.sock" in words:
                    found.append(int(process.name))
        return found

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            await self._process.wait()
            await asyncio.sleep(_PAUSE_SECONDS)
            self.restarts += 1
            self._process = await self._spawn(*_dockerd(self.folder, self._bridge))

    async def _spawn(self, *argv: str) -> asyncio.subprocess.Process:
        with (self.folder / "log").open("ab") as out:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _end_shims(self) -> None:
        for pid in self._shims():
            kill(pid)

    async def _stop(self) -> None:
        if self._process is not None:
            await _stop(self._process)


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """It runs, has our images, and is the one that DOCKER_HOST names; it leaves nothing behind."""
    tags = images.tags()
    # A short path on a disk: it holds sockets, and overlays can't lie on each other.
    folder = Path(tempfile.mkdtemp(prefix="sandstream-engine-", dir="/var/tmp"))
    there = _DOCKER0.exists()
    try:
        with bridge() as name:
            made = Engine(folder, name)
            async with made.running():
                assert _DOCKER0.exists() == there, "it has touched the machine's network"
                await asyncio.to_thread(_copy, (tags.runner, tags.builder), made.host)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("DOCKER_HOST", made.host)
                    yield made
    finally:
        # One that was killed has left its own folder mounted on itself.
        for mount in reversed(mounts(folder)):
            subprocess.run(["umount", mount], check=True)  # noqa: ASYNC221 - at the very end
        shutil.rmtree(folder)


def mounts(folder: Path) -> list[str]:
    """Where something is mounted below a folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [at for at in (line.split()[1] for line in lines) if at.startswith(f"{folder}/")]


def _has_children(pid: int) -> bool:
    with suppress(OSError):
        return any(
            threads.read_text().split() for threads in Path(f"/proc/{pid}/task").glob("*/children")
        )
    return False


def _containerd(folder: Path) -> list[str]:
    return [
        "containerd",
        "--config", f"{folder}/containerd.toml",
        "--root", f"{folder}/containerd",
        "--state", f"{folder}/containerd-run",
        "--address", f"{folder}/containerd.sock",
    ]  # fmt: skip


def _dockerd(folder: Path, bridge: str) -> list[str]:
    return [
        "dockerd",
        "--containerd", f"{folder}/containerd.sock",
        "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/run",
        "--pidfile", f"{folder}/pid",
        "--host", f"unix://{folder}/socket",
        "--bridge", bridge,
        # Nothing of the machine's network is touched.
        "--iptables=false", "--ip6tables=false", "--ip-forward=false",
    ]  # fmt: skip


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _copy(images: tuple[str, ...], host: str) -> None:
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as source:
        subprocess.run(
            ["docker", "--host", host, "load"],
            stdin=source.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    assert source.returncode == 0


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
