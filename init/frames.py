"""The words between a worker and the init of one container, over PID 1's stdin and stdout.

A frame is an unsigned 32-bit big-endian length, then a JSON header of that length, then the raw
bytes that the header's `lengths` announces, in order. Raw, because outputs are bytes and may be
16 MiB: base64 would cost a third more and a copy. The worker sends `Delegated` when the container
has its cgroups, and init answers `Ready` when it is warm; then exactly one `Job`, and init sends
one frame as each stage ends, then `End`. Init's own failure is
`Broken` and a non-zero exit of the container: a retry for the worker, never a verdict.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from init.limits import Stage, StageLimits
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH: Final = struct.Struct("!I")
#: A header holds no output, only names and numbers; more than this is not one of ours.
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
MAX_BODY_BYTES: Final = 256 * 1024 * 1024


class FrameError(ValueError):
    """The bytes are not frames: the stream can't be trusted from here on."""


@dataclass(frozen=True, slots=True)
class Delegated:
    """The worker's first word: where init may make a cgroup for each stage.

    Told and not looked up, because what /proc/self/cgroup shows depends on the cgroup namespace.
    `folders` holds, for `memory`, `pids` and `cpuacct`, a folder below the mounted cgroup tree
    (version 2: three times the same one). Made by `init.delegation.delegate`.
    """

    version: int
    folders: dict[str, str]


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of the submission: its path below the work folder, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Case:
    """One test case: what the run reads and is called with.

    A byte of an argument that is no UTF-8 is a lone surrogate (`surrogateescape`).
    """

    stdin: bytes = b""
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """A built environment: what to mount, and what the shell has set.

    `closure` holds absolute store paths. `profile` is the output of `nix print-dev-env --json`,
    taken once when the environment was built.
    """

    closure: tuple[str, ...]
    profile: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that init needs. Without `environment`, init builds it first (`cache: false`).

    `cases_at_once` says how many test cases may run at the same time; the walls around the
    container have to hold them.
    """

    submission_id: str
    attempt: int
    files: tuple[JobFile, ...]
    cases: tuple[Case, ...]
    limits: dict[Stage, StageLimits]
    environment: Environment | None = None
    cases_at_once: int = 1


@dataclass(frozen=True, slots=True)
class Ready:
    """Init is warm and waits for its job."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one stage did; every figure is read from the cgroup or the clock, none is guessed.

    `stdout` and `stderr` are cut exactly at their limit; `*_total` counts what was drained.
    `message` is ours, for a person: why the sandbox failed, or which limit was met.
    """

    outcome: Outcome
    exit_code: int | None
    signal: str | None
    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_total: int = 0
    stderr_total: int = 0
    message: str | None = None
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DependenciesDone:
    """The environment was built in this container, or could not be (then `environment` is None)."""

    report: Report
    environment: Environment | None = None


@dataclass(frozen=True, slots=True)
class CompileDone:
    report: Report


@dataclass(frozen=True, slots=True)
class RunDone:
    """The run of test case number `case`, counted from 0."""

    case: int
    report: Report


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more comes: every stage that could run has been reported."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Init failed, through no fault of the submission's."""

    reason: str


Frame = Delegated | Job | Ready | DependenciesDone | CompileDone | RunDone | End | Broken


@dataclass(slots=True)
class _Blobs:
    """Collects raw bytes while a header is made, and gives them back while it is read."""

    parts: list[bytes] = field(default_factory=list)

    def put(self, data: bytes) -> int:
        self.parts.append(data)
        return len(self.parts) - 1


def _report_out(report: Report, blobs: _Blobs) -> dict[str, Any]:
    return asdict(report) | {
        "stdout": blobs.put(report.stdout),
        "stderr": blobs.put(report.stderr),
    }


def _report_in(data: dict[str, Any], blobs: _Blobs) -> Report:
    return Report(
        **data
        | {
            "outcome": Outcome(data["outcome"]),
            "stdout": blobs.parts[data["stdout"]],
            "stderr": blobs.parts[data["stderr"]],
        }
    )


def _environment_out(environment: Environment | None, blobs: _Blobs) -> dict[str, Any] | None:
    if environment is None:
        return None
    return {"closure": environment.closure, "profile": blobs.put(environment.profile)}


def _environment_in(data: dict[str, Any] | None, blobs: _Blobs) -> Environment | None:
    if data is None:
        return None
    return Environment(tuple(data["closure"]), blobs.parts[data["profile"]])


def _job_out(job: Job, blobs: _Blobs) -> dict[str, Any]:
    return {
        "submission_id": job.submission_id,
        "attempt": job.attempt,
        "files": [[file.name, blobs.put(file.content)] for file in job.files],
        "cases": [[blobs.put(case.stdin), list(case.args)] for case in job.cases],
        "limits": {stage.value: asdict(limits) for stage, limits in job.limits.items()},
        "environment": _environment_out(job.environment, blobs),
        "cases_at_once": job.cases_at_once,
    }


def _job_in(data: dict[str, Any], blobs: _Blobs) -> Job:
    return Job(
        submission_id=data["submission_id"],
        attempt=data["attempt"],
        files=tuple(JobFile(name, blobs.parts[index]) for name, index in data["files"]),
        cases=tuple(Case(blobs.parts[index], tuple(args)) for index, args in data["cases"]),
        limits={Stage(stage): StageLimits(**limits) for stage, limits in data["limits"].items()},
        environment=_environment_in(data["environment"], blobs),
        cases_at_once=data["cases_at_once"],
    )


def _out(frame: Frame, blobs: _Blobs) -> dict[str, Any]:  # noqa: PLR0911 - one for each frame
    match frame:
        case Delegated(version, folders):
            return {"frame": "delegated", "version": version, "folders": folders}
        case Job():
            return {"frame": "job"} | _job_out(frame, blobs)
        case Ready():
            return {"frame": "ready"}
        case DependenciesDone(report, environment):
            return {
                "frame": "dependencies",
                "report": _report_out(report, blobs),
                "environment": _environment_out(environment, blobs),
            }
        case CompileDone(report):
            return {"frame": "compile", "report": _report_out(report, blobs)}
        case RunDone(case, report):
            return {"frame": "run", "case": case, "report": _report_out(report, blobs)}
        case End():
            return {"frame": "end"}
        case Broken(reason):
            return {"frame": "broken", "reason": reason}


def _in(data: dict[str, Any], blobs: _Blobs) -> Frame:  # noqa: PLR0911 - one for each frame
    match data.pop("frame"):
        case "delegated":
            return Delegated(data["version"], dict(data["folders"]))
        case "job":
            return _job_in(data, blobs)
        case "ready":
            return Ready()
        case "dependencies":
            return DependenciesDone(
                _report_in(data["report"], blobs), _environment_in(data["environment"], blobs)
            )
        case "compile":
            return CompileDone(_report_in(data["report"], blobs))
        case "run":
            return RunDone(data["case"], _report_in(data["report"], blobs))
        case "end":
            return End()
        case "broken":
            return Broken(data["reason"])
        case other:
            raise FrameError(f"unknown frame {other!r}")


def encode(frame: Frame) -> bytes:
    """The bytes of one frame."""
    blobs = _Blobs()
    header = _out(frame, blobs)
    header["lengths"] = [len(part) for part in blobs.parts]
    data = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return b"".join((_LENGTH.pack(len(data)), data, *blobs.parts))


class Decoder:
    """Turns bytes, however they are split, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None  # read, and waiting for its bodies
        self._needed = _LENGTH.size  # nothing to do before the buffer holds so much

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises FrameError when the bytes are no frames."""
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    @property
    def pending(self) -> int:
        """How many bytes wait for the rest of their frame; not 0 at the end means a cut stream."""
        return len(self._buffer) + (self._header is not None)

    def _next(self) -> Frame | None:
        if len(self._buffer) < self._needed:
            return None
        if self._header is None:
            return self._read_header()
        blobs = _Blobs()
        offset = 0
        for length in self._header.pop("lengths"):
            blobs.put(bytes(self._buffer[offset : offset + length]))
            offset += length
        del self._buffer[:offset]
        header, self._header, self._needed = self._header, None, _LENGTH.size
        try:
            return _in(header, blobs)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FrameError(f"a malformed frame: {error}") from error

    def _read_header(self) -> Frame | None:
        start = _LENGTH.size
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > MAX_HEADER_BYTES:
            raise FrameError(f"a header of {size} bytes")
        if len(self._buffer) < start + size:
            self._needed = start + size
            return None
        try:
            header = json.loads(self._buffer[start : start + size])
            header["lengths"] = lengths = [int(length) for length in header["lengths"]]
        except (ValueError, KeyError, TypeError) as error:
            raise FrameError(f"not a header: {error}") from error
        if min(lengths, default=0) < 0 or sum(lengths) > MAX_BODY_BYTES:
            raise FrameError(f"bodies of {lengths} bytes")
        del self._buffer[: start + size]
        self._header, self._needed = header, sum(lengths)
        return self._next()
