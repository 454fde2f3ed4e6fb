"""A submission's container, made with the docker command line exactly as init/box.py asks."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from init.delegation import delegate
from init.frames import (
    Broken,
    Case,
    CompileDone,
    End,
    Environment,
    Frame,
    Job,
    JobFile,
    Ready,
    Report,
    RunDone,
)
from init.limits import Stage, StageLimits, defaults, total_defaults
from init.seccomp import profile
from init.wire import Decoder, encode
from nix.images import tags
from tests.sandbox import store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
_UIDS = itertools.count(20000 + os.getpid() % 10000)


def image() -> str | None:
    """The image below the runner's, as this tree's files make it, if it has been built."""
    tag = tags().base
    inspect = ["docker", "image", "inspect", tag]
    found = shutil.which("docker") and subprocess.run(inspect, check=False, capture_output=True)
    return tag if found and found.returncode == 0 else None


def code(folder: Path, image: str) -> Path:
    """A copy of the working tree's init, compiled as the runner image has it."""
    target = folder / "code"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        REPOSITORY / "init", target / "init", ignore=shutil.ignore_patterns("__pycache__")
    )
    argv = ["docker", "run", "--rm", "--network", "none", "-v", f"{target}:/opt/sandstream"]
    argv += ["--entrypoint", "/usr/bin/python3", image, "-P", "-s", "-S", "-m", "compileall", "-q"]
    argv += ["--invalidation-mode", "unchecked-hash", "/opt/sandstream"]
    subprocess.run(argv, check=True, capture_output=True)
    return target


@dataclass
class Answer:
    """Everything that init said."""

    frames: list[Frame]
    exit_code: int
    errors: str
    ready_seconds: float

    @property
    def compiled(self) -> Report:
        (frame,) = (frame for frame in self.frames if isinstance(frame, CompileDone))
        return frame.report

    @property
    def runs(self) -> list[Report]:
        return [frame.report for frame in self.frames if isinstance(frame, RunDone)]

    @property
    def run(self) -> Report:
        (report,) = self.runs
        return report


@dataclass
class Sandbox:
    """Makes a container for each job; `image`, `store` and `code` are made once."""

    image: str
    store: Path
    code: Path
    folder: Path
    closure: tuple[str, ...] = (store.SHELL,)
    profile: bytes = field(default_factory=store.profile)

    def create_argv(self, uid: int) -> list[str]:
        seccomp = self.folder / "seccomp.json"
        seccomp.write_text(json.dumps(profile()))
        return [
            "docker", "create", "--interactive",
            "--label", "sandstream.role=test",
            "--user", f"{uid}:{uid}",
            "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges",
            "--security-opt", f"seccomp={seccomp}",
            "--security-opt", "systempaths=unconfined",
            "--security-opt", "apparmor=unconfined",
            "--read-only",
            "--network", "none",
            "--ipc", "none",
            "--ulimit", "core=1", "--ulimit", "nofile=4096", "--ulimit", "stack=67108864",
            "--memory", "3g",
            "--pids-limit", "2000",
            "--log-driver", "none",
            "--tmpfs", f"/box:uid={uid},gid={uid},mode=0700,exec,size=16m",
            "--volume", f"{self.store}:/nix/store:ro",
            "--volume", "/sys/fs/cgroup:/cgroup",
            # the code under test, not the one that the image was built with
            "--volume", f"{self.code}:/opt/sandstream:ro",
            "--env", "PYTHONPATH=/opt/sandstream",
            "--entrypoint", "/usr/bin/python3",
            self.image, "-P", "-s", "-S", "-m", "init",
        ]  # fmt: skip

    @contextmanager
    def container(self) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """A started container, attached, and its PID 1; removed at the end."""
        uid = next(_UIDS)
        name = subprocess.run(
            self.create_argv(uid), check=True, capture_output=True, text=True
        ).stdout.strip()
        try:
            with subprocess.Popen(
                ["docker", "start", "--attach", "--interactive", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                pid = 0
                while not pid and process.poll() is None:
                    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
                    pid = int(subprocess.run(inspect, check=True, capture_output=True).stdout)
                process.delegated = delegate(pid, uid)  # type: ignore[attr-defined]
                yield process, pid
                process.kill()
        finally:
            subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)

    def perform(self, job: Job) -> Answer:
        frames: list[Frame] = []
        with self.container() as (process, _):
            decoder = Decoder()
            start = time.monotonic()
            send(process, encode(process.delegated))  # type: ignore[attr-defined]
            while not frames and (data := os.read(process.stdout.fileno(), 65536)):
                frames += decoder.feed(data)
            ready_seconds = time.monotonic() - start
            if frames == [Ready()]:
                send(process, encode(job))
                while data := os.read(process.stdout.fileno(), 1 << 20):
                    frames += decoder.feed(data)
            process.stdin.close()
            code = process.wait(timeout=30)
            return Answer(frames, code, process.stderr.read().decode(), ready_seconds)

    def run(
        self,
        script: str | bytes,
        *cases: Case,
        files: dict[str, bytes] | None = None,
        compile_script: str | None = None,
        compile_limits: dict[str, float] | None = None,
        closure: tuple[str, ...] | None = None,
        profile: bytes | None = None,
        at_once: int = 1,
        protected: Collection[str] = (),
        environment: str = "",
        total: dict[str, float] | None = None,
        **limits: float,
    ) -> Answer:
        """Run `script` as run.sh in the fake shell; `limits` are the run's.

        The clock is no other limit's business, however busy this machine is: a minute unless said.
        """
        content = {"run.sh": script.encode() if isinstance(script, str) else script}
        if compile_script is not None:
            content["compile.sh"] = compile_script.encode()
        content |= files or {}
        answer = self.perform(
            Job(
                submission_id="test",
                attempt=1,
                files=tuple(
                    JobFile(name, data, name in protected) for name, data in content.items()
                ),
                cases=cases or (Case(),),
                limits={
                    Stage.DEPENDENCIES: defaults(Stage.DEPENDENCIES),
                    Stage.COMPILE: with_limits(
                        Stage.COMPILE, {"wall_seconds": 60, **(compile_limits or {})}
                    ),
                    Stage.RUN: with_limits(Stage.RUN, {"wall_seconds": 60, **limits}),
                },
                environment=Environment(
                    closure or self.closure, profile or self.profile, environment
                ),
                cases_at_once=at_once,
                total=replace(total_defaults(), **(total or {})),
            )
        )
        broken = [frame for frame in answer.frames if isinstance(frame, Broken)]
        assert not broken, (broken, answer.errors)
        assert answer.frames, answer.errors
        assert answer.frames[-1] == End(), (answer.frames, answer.errors)
        assert answer.exit_code == 0, answer.errors
        return answer


def with_limits(stage: Stage, changes: dict[str, float]) -> StageLimits:
    usual = defaults(stage)
    return StageLimits(
        **{name: changes.get(name, getattr(usual, name)) for name in usual.__slots__}
    )


def send(process: subprocess.Popen[bytes], data: bytes) -> None:
    process.stdin.write(data)
    process.stdin.flush()
