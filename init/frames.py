"""The words between a worker and the init of one container.

The worker sends `Delegated` when the container has its cgroups, and init answers `Ready` when it
is warm; then exactly one `Job`, and init sends one frame as each stage ends, then `End`. Init's own
failure is `Broken` and a non-zero exit of the container: a retry for the worker, never a verdict.
Their bytes are `wire.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from init.limits import Stage, StageLimits, TotalLimits, total_defaults
from init.outcome import Outcome


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
    """A file of the submission: its path below the work folder, and its bytes.

    Whatever compile did to a protected one, each run finds it as it was submitted.
    """

    name: str
    content: bytes
    protected: bool = False


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
    taken once when the environment was built. `path` is the environment's own store path, whose
    entries stand for those paths of the closure that its build made; empty: the container has
    built it itself, and sees everything at its own name.
    """

    closure: tuple[str, ...]
    profile: bytes
    path: str = ""


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
    total: TotalLimits = field(default_factory=total_defaults)


@dataclass(frozen=True, slots=True)
class Ready:
    """Init is warm and waits for its job."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one stage did; every figure is read from the cgroup or the clock, none is guessed.

    `stdout` and `stderr` are cut exactly at their limit; `*_total` counts what was drained.
    `message` is ours, for a person: why the sandbox failed, or which limit was met.
    `starved` says what the stage met that a program can survive and go on crippled: an OOM kill, a
    refused fork; empty when it met nothing of the kind.
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
    starved: str = ""


@dataclass(frozen=True, slots=True)
class DependenciesDone:
    """The environment was built in this container, or could not be (then `environment` is None).

    `written`: names directly below /nix/store that the build has made or changed. Of a builder's
    job only; init reads it when all processes of the build are dead.
    """

    report: Report
    environment: Environment | None = None
    written: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """A builder's job, in place of `Job`: build one shell's environment, and hand it over.

    Init answers `Planned` as often as the build needs something that is not there, then
    `DependenciesDone`. A builder that wants what was built sends `Export` then.
    """

    name: str
    files: tuple[JobFile, ...]
    limits: StageLimits


@dataclass(frozen=True, slots=True)
class Planned:
    """What the next step needs and the container's store lacks; init waits for `Provided`.

    `derivations` would be built here, `fetched` are paths that a binary cache has. The names come
    from an evaluation of the user's: data, not truth.
    """

    derivations: tuple[str, ...]
    fetched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provided:
    """The builder has made the trusted paths among them.

    `registration` describes those paths as `nix-store --dump-db` prints them, with all that they
    refer to; empty: nothing was added.
    """

    registration: bytes = b""


@dataclass(frozen=True, slots=True)
class Stop:
    """The builder wants no more of its build: init ends it and reports what there is."""


@dataclass(frozen=True, slots=True)
class Export:
    """The builder wants these entries of the store: init sends their NAR as `Piece`s, then `End`.

    One NAR of one folder; its entries are `names`, sorted.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of the NAR."""

    data: bytes


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


Frame = (
    Delegated
    | Job
    | Ready
    | DependenciesDone
    | CompileDone
    | RunDone
    | End
    | Broken
    | Build
    | Planned
    | Provided
    | Stop
    | Export
    | Piece
)
