"""Frames as bytes, over PID 1's stdin and stdout.

A frame is an unsigned 32-bit big-endian length, then a JSON header of that length, then the raw
bytes that the header's `lengths` announces, in order. Raw, because outputs are bytes and may be
16 MiB: base64 would cost a third more and a copy.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from init import honest
from init.frames import (
    Broken,
    Build,
    Case,
    CompileDone,
    Delegated,
    DependenciesDone,
    End,
    Environment,
    Export,
    Frame,
    Job,
    JobFile,
    Piece,
    Planned,
    Provided,
    Ready,
    Report,
    RunDone,
    Stop,
)
from init.limits import Stage, StageLimits, TotalLimits
from init.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH: Final = struct.Struct("!I")
#: A header holds no output, only names and numbers; more than this is not one of ours.
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
MAX_BODY_BYTES: Final = 256 * 1024 * 1024


class FrameError(ValueError):
    """The bytes are not frames: the stream can't be trusted from here on."""


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
    report = Report(
        **data
        | {
            "outcome": Outcome(data["outcome"]),
            "stdout": blobs.parts[data["stdout"]],
            "stderr": blobs.parts[data["stderr"]],
        }
    )
    honest.hold(report)
    return report


def _environment_out(environment: Environment | None, blobs: _Blobs) -> dict[str, Any] | None:
    if environment is None:
        return None
    return {
        "closure": environment.closure,
        "profile": blobs.put(environment.profile),
        "path": environment.path,
    }


def _environment_in(data: dict[str, Any] | None, blobs: _Blobs) -> Environment | None:
    if data is None:
        return None
    closure, (path,) = honest.texts(data["closure"]), honest.texts((data["path"],))
    return Environment(closure, blobs.parts[data["profile"]], path)


def _job_out(job: Job, blobs: _Blobs) -> dict[str, Any]:
    return {
        "submission_id": job.submission_id,
        "attempt": job.attempt,
        "files": [[file.name, blobs.put(file.content), file.protected] for file in job.files],
        "cases": [[blobs.put(case.stdin), list(case.args)] for case in job.cases],
        "limits": {stage.value: asdict(limits) for stage, limits in job.limits.items()},
        "environment": _environment_out(job.environment, blobs),
        "cases_at_once": job.cases_at_once,
        "total": asdict(job.total),
    }


def _job_in(data: dict[str, Any], blobs: _Blobs) -> Job:
    return Job(
        submission_id=data["submission_id"],
        attempt=data["attempt"],
        files=tuple(
            JobFile(name, blobs.parts[index], protected) for name, index, protected in data["files"]
        ),
        cases=tuple(Case(blobs.parts[index], tuple(args)) for index, args in data["cases"]),
        limits={Stage(stage): StageLimits(**limits) for stage, limits in data["limits"].items()},
        environment=_environment_in(data["environment"], blobs),
        cases_at_once=data["cases_at_once"],
        total=TotalLimits(**data["total"]),
    )


def _out(frame: Frame, blobs: _Blobs) -> dict[str, Any]:  # noqa: PLR0911 - one for each frame
    match frame:
        case Delegated(version, folders):
            return {"frame": "delegated", "version": version, "folders": folders}
        case Job():
            return {"frame": "job"} | _job_out(frame, blobs)
        case Ready():
            return {"frame": "ready"}
        case DependenciesDone(report, environment, written):
            return {
                "frame": "dependencies",
                "report": _report_out(report, blobs),
                "environment": _environment_out(environment, blobs),
                "written": written,
            }
        case CompileDone(report):
            return {"frame": "compile", "report": _report_out(report, blobs)}
        case RunDone(case, report):
            return {"frame": "run", "case": case, "report": _report_out(report, blobs)}
        case End():
            return {"frame": "end"}
        case Broken(reason):
            return {"frame": "broken", "reason": reason}
        case _:
            return _build_out(frame, blobs)


def _build_out(
    frame: Build | Planned | Provided | Stop | Export | Piece, blobs: _Blobs
) -> dict[str, Any]:
    match frame:
        case Build(name, files, limits):
            return {
                "frame": "build",
                "name": name,
                "files": [[file.name, blobs.put(file.content)] for file in files],
                "limits": asdict(limits),
            }
        case Planned(derivations, fetched):
            return {"frame": "planned", "derivations": derivations, "fetched": fetched}
        case Provided(registration):
            return {"frame": "provided", "registration": blobs.put(registration)}
        case Stop():
            return {"frame": "stop"}
        case Export(names):
            return {"frame": "export", "names": names}
        case Piece(data):
            return {"frame": "piece", "data": blobs.put(data)}


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
                _report_in(data["report"], blobs),
                _environment_in(data["environment"], blobs),
                tuple(data["written"]),  # file names: bytes that are no UTF-8 are surrogates
            )
        case "compile":
            return CompileDone(_report_in(data["report"], blobs))
        case "run":
            return RunDone(data["case"], _report_in(data["report"], blobs))
        case "end":
            return End()
        case "broken":
            return Broken(*honest.texts((data["reason"],)))
        case other:
            return _build_in(other, data, blobs)


def _build_in(kind: str, data: dict[str, Any], blobs: _Blobs) -> Frame:
    match kind:
        case "build":
            return Build(
                data["name"],
                tuple(JobFile(name, blobs.parts[index]) for name, index in data["files"]),
                StageLimits(**data["limits"]),
            )
        case "planned":
            return Planned(honest.texts(data["derivations"]), honest.texts(data["fetched"]))
        case "provided":
            return Provided(blobs.parts[data["registration"]])
        case "stop":
            return Stop()
        case "export":
            return Export(tuple(data["names"]))
        case "piece":
            return Piece(blobs.parts[data["data"]])
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
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FrameError(f"not a header: {error}") from error
        if min(lengths, default=0) < 0 or sum(lengths) > MAX_BODY_BYTES:
            raise FrameError(f"bodies of {lengths} bytes")
        del self._buffer[: start + size]
        self._header, self._needed = header, sum(lengths)
        return self._next()
