"""The whole vocabulary: every event that a submission can have, in order of occurrence.

Each is immutable and self-contained. `event` is the literal tag on the wire and never changes;
`sequence` is the stream's and stands in no message. To add an event: a class here, a case in
`fold.py`, its publisher's right in `rights.py`, a recorded history in `tests/histories/`.

An environment that is wanted without a submission has a story of its own, of `deps-queued`,
`deps-built` and `cancel-requested` alone: below `environments.<id>`, where no worker listens, and
with the environment's id in the place of a submission's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from streams.content import Frozen, Sha256
from streams.environments import Environment
from streams.errors import Undecodable
from streams.limits import Limits
from streams.request import File, Request
from streams.results import RunResult, StageResult

STREAM: Final = "SUBMISSIONS"
ROOT: Final = "submissions"
#: Stories of environments that are wanted for themselves.
WARM: Final = "environments"
ROOTS: Final = (ROOT, WARM)
LIVE: Final = "live"
#: Our clients' mark on a message that has a header twice (`connection.py`). What we say has none
#: twice; a message that was copied by the server has those of the server's answer, and then again.
REPEATED: Final = "Sandstream-Header-Repeated"
#: The server's word in each answer. What comes from a consumer has its publisher's headers alone.
ANSWERED: Final = "Nats-Stream"


def now() -> datetime:
    """The time an event carries: its own, because copying a stream changes the server's."""
    return datetime.now(UTC)


class Event(Frozen):
    """What every event has: whose it is, when, by whom (process and host), and in which attempt."""

    event: str
    submission_id: str = Field(pattern=r"^[0-9a-z]+$")
    at: datetime = Field(default_factory=now)
    by: str
    attempt: int = 0
    sequence: int = 0

    @property
    def root(self) -> str:
        """The first part of the subject: whose story it is a part of."""
        return ROOT

    @property
    def qualifier(self) -> str | None:
        """The last part of the subject, where consumers must tell events of one kind apart."""
        return None


class Submitted(Event):
    """A client's submission was accepted."""

    event: Literal["submitted"] = "submitted"
    request: Request
    environment_id: str
    channel: str
    idempotency_key: str | None = None
    request_sha256: Sha256 | None = None

    @property
    def qualifier(self) -> str | None:
        return None if self.request.cache else "uncached"


class DepsQueued(Event):
    """Its environment is wanted from a builder: this *is* the dependencies object in the queue.

    `warm`: for itself, without a submission; then `caller` is the name of the API key that asked,
    and `again` says that others wait for it already.
    """

    event: Literal["deps-queued"] = "deps-queued"
    environment_id: str
    channel: str
    files: tuple[File, ...]
    limits: Limits
    warm: bool = False
    caller: str | None = None
    again: bool = False

    @property
    def root(self) -> str:
        return WARM if self.warm else ROOT


class DepsBuilt(Event):
    """The environment is there (`environment`), or can't be built (`result` says why).

    `cache_miss`: why a worker had to build what a builder should have built.
    """

    event: Literal["deps-built"] = "deps-built"
    how: Literal["built", "joined", "hit", "in-container"]
    result: StageResult
    environment: Environment | None = None
    waited_seconds: float = 0.0
    cache_miss: str | None = None
    warm: bool = False

    @property
    def root(self) -> str:
        return WARM if self.warm else ROOT

    @property
    def qualifier(self) -> str | None:
        return self.how if self.how == "in-container" else None


class Started(Event):
    """A worker has the submission in a container; `retry_because` ends the attempt before.

    `cases_at_once`: how many test cases share the CPUs, for whoever compares wall times.
    """

    event: Literal["started"] = "started"
    container: str
    retry_because: str | None = None
    cases_at_once: int = 1


class Compiled(Event):
    """compile.sh has ended."""

    event: Literal["compiled"] = "compiled"
    result: StageResult


class Ran(Event):
    """run.sh has ended for one test case; a crash is a result too."""

    event: Literal["ran"] = "ran"
    result: RunResult

    @property
    def qualifier(self) -> str | None:
        return str(self.result.case)


class CancelRequested(Event):
    """A client wants no more of it.

    `warm`: of an environment that it had asked for by itself, as `caller`; where `others` did too,
    these still wait for it.
    """

    event: Literal["cancel-requested"] = "cancel-requested"
    warm: bool = False
    caller: str | None = None
    others: bool = False

    @property
    def root(self) -> str:
        return WARM if self.warm else ROOT


class Finished(Event):
    """Every stage that could run has run."""

    event: Literal["finished"] = "finished"
    verdict: str


class Failed(Event):
    """We gave up, through our own fault; one reason for each attempt."""

    event: Literal["failed"] = "failed"
    reasons: tuple[str, ...]


class Cancelled(Event):
    """It was stopped before its end, as a client asked."""

    event: Literal["cancelled"] = "cancelled"


class Unknown(Event):
    """An event of a newer version: kept and shown as it is, never dropped."""

    model_config = ConfigDict(frozen=True, extra="allow")


Known = (
    Submitted
    | DepsQueued
    | DepsBuilt
    | Started
    | Compiled
    | Ran
    | CancelRequested
    | Finished
    | Failed
    | Cancelled
)
AnyEvent = Known | Unknown

_KNOWN: Final[TypeAdapter[Known]] = TypeAdapter(Annotated[Known, Field(discriminator="event")])
NAMES: Final = tuple(kind.model_fields["event"].default for kind in Known.__args__)
TERMINAL: Final = frozenset({"finished", "failed", "cancelled"})


def subject(event: Event) -> str:
    """`submissions.<id>.<event>[.<qualifier>]`."""
    words = [event.root, event.submission_id, event.event]
    if event.qualifier is not None:
        words.append(event.qualifier)
    return ".".join(words)


def guard(submission_id: str, root: str = ROOT) -> str:
    """The filter whose last sequence guards *every* event of a submission, cancels included."""
    return f"{root}.{submission_id}.>"


def encode(event: Event) -> bytes:
    """The message's payload."""
    return orjson.dumps(event.model_dump(mode="json", exclude={"sequence"}))


def decode(
    data: bytes, sequence: int, said_at: str, headers: Mapping[str, str] | None = None
) -> AnyEvent:
    """The event that message `sequence` of the stream, of the subject `said_at`, holds.

    The server lets each service say certain subjects, and looks at no payload; so an event of
    another subject than its own is none. Neither is a copy: whoever may read a stream can have the
    server send its answer to any subject, the log's own included. Raises Undecodable.
    """
    if headers is not None and REPEATED in headers:
        raise Undecodable(sequence, f"nobody said it: it is an answer, sent to {said_at}")
    event = parse(data, sequence)
    if isinstance(event, Unknown):
        same = said_at.split(".")[1:3] == [event.submission_id, event.event]
    else:
        same = said_at == subject(event)
    if not same:
        raise Undecodable(sequence, f"it was said at {said_at}, which is not its subject")
    return event


def parse(data: bytes, sequence: int) -> AnyEvent:
    """What a payload alone says. Raises Undecodable."""
    try:
        fields: dict[str, Any] = orjson.loads(data)
        if "at" not in fields:  # the default would be another time at each replay
            raise Undecodable(sequence, "it does not say when it happened")
        fields["sequence"] = sequence
        if fields.get("event") in NAMES:
            return _KNOWN.validate_python(fields)
        return Unknown.model_validate(fields)
    except (orjson.JSONDecodeError, ValidationError, TypeError) as error:
        raise Undecodable(sequence, str(error)) from error


def record(event: Event) -> dict[str, Any]:
    """The event as `/history` shows it: as recorded, with its sequence."""
    return event.model_dump(mode="json")
