"""A real worker process, on real NATS, Docker and init; environments from a store made by hand."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from init.outcome import Outcome
from nix import images
from nix.progress import Progress
from streams.content import inline
from streams.environments import Environment
from streams.events import CancelRequested, DepsBuilt, DepsQueued, Submitted
from streams.limits import Limits
from streams.log import EventLog
from streams.request import File, Request, TestCase
from streams.results import StageResult
from tests.sandbox import store

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def made() -> images.ImageTags:
    return images.build(Progress())


@pytest.fixture(scope="session")
def state(made) -> Path:
    """A state folder with a store and a channel, as set-up would leave it; kept between runs."""
    folder = Path("/var/tmp/sandstream-test-worker")
    (folder / "channel").mkdir(parents=True, exist_ok=True)
    store.make(folder / "nix", made.base)
    return folder


@pytest.fixture(scope="session")
def real_state(made) -> Path:
    """A state folder with the real channel and a real Nix store, as set-up made it."""
    folder = Path(os.environ.get("SANDSTREAM_TEST_STATE", REPOSITORY / ".state-test"))
    if not (folder / "nix" / "var" / "nix" / "db" / "db.sqlite").exists():
        pytest.skip(f"no Nix store in {folder}: run `make setup-tests`; on CI this is a failure")
    return folder


class Worker:
    """A worker process of its own name."""

    def __init__(self, state: Path, image: str, nats, **settings) -> None:
        self.name = f"test-{uuid4().hex[:8]}"
        self.folder = state / "worker" / self.name
        number = int(self.name[-6:], 16)
        self.settings = {
            "worker_name": self.name,
            "worker_slots": 2,
            "worker_pool": 2,
            "uid_first": 300_000_000 + 64 * number,
            "uid_slices": 1,
            "uid_slice_size": 64,
            "state": state,
            "runner_image": image,
            "nats_url": nats.url,
            "nats_user": "worker",
            "nats_password": nats.secrets["worker"],
            "worker_drain_seconds": 0,
        } | settings
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.folder.with_suffix(".log")

    async def start(self, *, ready: bool = True) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {key: value for key, value in self.settings.items() if value is not None}
        env = {f"SANDSTREAM_{key.upper()}": str(value) for key, value in told.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - as short as its fork
                [sys.executable, "-W", "error", "-m", "worker"],
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], **env},
                stderr=log,
            )
        if not ready:
            return
        await until(lambda: self.process.poll() or " warm containers of " in self.words())
        assert self.process.poll() is None, self.words()

    def words(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, 60)

    def containers(self) -> list[dict]:
        """What Docker knows of this worker's containers."""
        label = f"label=sandstream.worker={self.name}"
        ids = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
        if not ids:
            return []
        # One that was removed since then is said on stderr and is not in the answer.
        answer = subprocess.run(["docker", "inspect", *ids], capture_output=True, check=False)
        return json.loads(answer.stdout)

    def container(self, name: str) -> dict:
        return json.loads(docker("inspect", name))[0]

    def remains(self) -> list[str]:
        """Containers, scratch folders and cgroups of this worker that are still there."""
        return [
            *(container["Name"] for container in self.containers()),
            *(str(path) for path in (self.folder / "scratch").glob("*")),
        ]


def cgroups_of(id_: str) -> list[Path]:
    """The cgroups of a container, as any version of them and any driver has it."""
    root = Path("/sys/fs/cgroup")
    places = (f"*/docker/{id_}", f"docker/{id_}", f"system.slice/docker-{id_}.scope")
    return [path for place in places for path in root.glob(place)]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


async def until(condition, seconds: float = 30):
    """Wait until the condition holds; returns what it gave."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.02)
    return value


@pytest.fixture
def worker_at(state, made, nats):
    """A context manager: a running worker with these settings, gone without a trace at the end."""

    @asynccontextmanager
    async def running(state: Path = state, *, ready: bool = True, ends_with: int = 0, **settings):
        worker = Worker(state, made.runner, nats, **settings)
        try:
            await worker.start(ready=ready)
            yield worker
        finally:
            if worker.process.poll() is None:
                await worker.stop()
            print(worker.words())  # noqa: T201 - pytest shows it when the test fails
            worker.log.unlink()
        assert worker.process.returncode == ends_with
        assert worker.remains() == []
        uids = state / "worker" / ".uids" / str(worker.settings["uid_first"])
        shutil.rmtree(worker.folder)
        shutil.rmtree(uids)

    return running


class Client:
    """Says what an API and a builder would say, and waits for what the worker says."""

    def __init__(self, admin) -> None:
        self.log = EventLog(admin)

    async def submit(
        self, *, built: bool | str = True, shell: str = "{}", cache: bool = True, **fields
    ) -> str:
        id_ = uuid4().hex
        request = make_request(cache=cache, shell=shell, **fields)
        whose = {"submission_id": id_, "by": "test"}
        first = Submitted(request=request, environment_id=store.ID, channel="c", **whose)
        if not cache:
            await self.log.append(first, after=0)
            return id_
        queued = DepsQueued(
            environment_id=store.ID,
            channel="c",
            files=request.files[:1],
            limits=request.limits,
            **whose,
        )
        last = await self.log.append_all([first, queued])
        if built:
            ok = built != "failed"
            event = DepsBuilt(
                how="hit",
                result=StageResult(outcome=Outcome.OK if ok else Outcome.NONZERO_EXIT),
                environment=environment() if ok else None,
                **whose,
            )
            await self.log.append(event, after=last)
        return id_

    async def cancel(self, id_: str) -> None:
        state = await self.log.state(id_)
        event = CancelRequested(submission_id=id_, by="test")
        await self.log.append(event, after=state.sequence)

    async def reached(self, id_: str, name: str, count: int = 1, seconds: float = 30):
        """The history, once it holds that event."""
        async with asyncio.timeout(seconds):
            while True:
                history = await self.log.history(id_)
                if sum(event.event == name for event in history) >= count:
                    return history
                await asyncio.sleep(0.01)

    async def ended(self, id_: str, seconds: float = 60):
        async with asyncio.timeout(seconds):
            while not (state := await self.log.state(id_)).ended:
                await asyncio.sleep(0.01)
        return state, [event.event for event in await self.log.history(id_)]


@pytest.fixture
async def client(nats):
    async with nats.connect("admin") as admin:
        yield Client(admin)


def environment() -> Environment:
    return Environment(
        id=store.ID,
        path=store.ENVIRONMENT,
        closure=(store.SHELL,),
        profile=inline(store.profile()),
    )


def make_request(
    run: str = "cat",
    cases: tuple[TestCase, ...] = (TestCase(),),
    compile_: str | None = None,
    shell: str = "{}",
    *,
    cache: bool = True,
    stop_on_failure: bool = False,
    total: dict[str, float] | None = None,
    compile_limits: dict[str, float] | None = None,
    **run_limits,
) -> Request:
    files = [("shell.nix", shell), ("run.sh", run)]
    if compile_ is not None:
        files.append(("compile.sh", compile_))
    limits = Limits().model_dump()
    limits["run"] |= run_limits
    limits["total"] |= total or {}
    limits["compile"] |= compile_limits or {}
    return Request(
        files=tuple(File(name=name, content=inline(text.encode())) for name, text in files),
        cache=cache,
        limits=Limits.model_validate(limits),
        test_cases=cases,
        stop_on_failure=stop_on_failure,
    )


def case(stdin: str = "", expected: str | None = None, **more) -> TestCase:
    return TestCase(
        stdin=inline(stdin.encode()),
        expected_stdout=None if expected is None else inline(expected.encode()),
        **more,
    )
