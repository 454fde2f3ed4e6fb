"""The answers' models: they document the API and tests hold the answers to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from init.outcome import Outcome
from streams.fold import Status

Encoding = Literal["utf8", "base64"]


class Answer(BaseModel):
    """Closed: an answer with another field fails its test."""

    model_config = ConfigDict(extra="forbid")


class Links(Answer):
    self: str
    events: str
    history: str
    cancel: str


class AcceptedAnswer(Answer):
    """A submission was recorded, or a cancel of one."""

    id: str
    status: Status = Field(description="The last transition.")
    links: Links


class StageAnswer(Answer):
    """What a stage did; the same for all three stages."""

    outcome: Outcome = Field(
        description="How it ended; of several that hold, the first in the order of docs/limits.md."
    )
    exit_code: int | None = Field(description="Null when it was stopped or never started.")
    signal: str | None = Field(description="Name of the signal that ended it, as SIGSEGV.")
    wall_seconds: float = Field(description="From just before its start to its end.")
    cpu_seconds: float = Field(description="User and system together, of the whole tree.")
    cpu_user_seconds: float | None = Field(description="Null where it was not told apart.")
    cpu_system_seconds: float | None = Field(description="Null where it was not told apart.")
    memory_peak_bytes: int = Field(description="Of the whole tree at once, its files included.")
    stdout: str | None = Field(description="In place up to 1 MiB; null above: see the raw call.")
    stdout_encoding: Encoding = Field(description="utf8 when all of it is UTF-8, else base64.")
    stdout_total: int = Field(description="Bytes written, also those cut off at the limit.")
    stderr: str | None = Field(description="As stdout.")
    stderr_encoding: Encoding = Field(description="As of stdout.")
    stderr_total: int = Field(description="As of stdout.")
    message: str | None = Field(description="For a person: which limit, or why it failed.")


class RunAnswer(StageAnswer):
    """One test case."""

    case: int = Field(description="Its place in test_cases, from 0.")
    verdict: str | None = Field(
        description="accepted, wrong-answer, comparison-limit, the outcome's name when it is not "
        "ok; null without expected_stdout."
    )


class MomentAnswer(Answer):
    """One line of the timeline."""

    event: str
    at: str
    sequence: int
    by: str
    attempt: int


class EnvironmentAnswer(Answer):
    """Which environment it runs in, and how it came to be."""

    id: str | None
    how: Literal["built", "joined", "hit", "in-container"] | None
    cache_miss: str | None = Field(
        description="Why a worker built what a builder should have built; null where none had to."
    )


class SubmissionAnswer(Answer):
    """The whole submission as it is at `sequence`."""

    id: str
    status: Status = Field(description="The last transition.")
    request: dict[str, Any] | None = Field(
        description="As it was posted, every default in its place; it can be posted again."
    )
    environment: EnvironmentAnswer = Field(
        description="Its id, and how it came to be: built, joined, hit or in-container."
    )
    dependencies: StageAnswer | None = Field(description="The shell's build; null until known.")
    compile: StageAnswer | None = Field(description="Null until known, or without a compile.sh.")
    runs: list[RunAnswer] = Field(description="In the order of test_cases, as far as known.")
    verdict: str | None = Field(description="Null until status is finished.")
    attempts: int = Field(description="How often a worker began; a lost attempt begins anew.")
    failures: list[str] = Field(
        description="Why each attempt but the last was lost; of all of them when status is failed."
    )
    sequence: int = Field(description="The stream's sequence of its last event.")
    timeline: list[MomentAnswer] = Field(
        description="Every event so far: event, at (UTC), sequence, by (process@host), attempt."
    )
    unknown: list[dict[str, Any]] = Field(description="Events that a newer version recorded.")
    links: Links = Field(description="Paths of this object, its events, history and cancel.")


class SummaryAnswer(Answer):
    """A line of the list."""

    id: str
    status: Status = Field(description="The last transition.")
    verdict: str | None = Field(description="Null until status is finished.")
    attempts: int = Field(description="How often a worker began.")
    sequence: int = Field(description="The stream's sequence of its last event.")
    submitted_at: str | None = Field(description="Time (UTC) of its first event.")
    updated_at: str | None = Field(description="Time (UTC) of its last event.")
    links: Links = Field(description="As in the object.")


class PageAnswer(Answer):
    """Newest first. `next` is null at the end; a page may be short, or empty, before it."""

    submissions: list[SummaryAnswer] = Field(description="Newest first; at most ?limit= of them.")
    next: str | None = Field(description="The next page's ?cursor=; null at the end.")


class FaultAnswer(Answer):
    field: str = Field(description="A JSON pointer into the body, or query/… or header/….")
    message: str


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultAnswer] = Field(default=[], description="One for each bad field.")


class LanguageAnswer(Answer):
    """A ready-made shell."""

    name: str = Field(description="What a submission's `language` says.")
    shell_nix: str = Field(description="Its shell.nix.")
    compile_sh: str | None = Field(description="Its compile.sh; null where nothing is compiled.")
    run_sh: str = Field(description="Its run.sh.")
    example: dict[str, Any] | None = Field(description="A body for POST /submissions.")


class EnvironmentLinks(Answer):
    self: str
    events: str
    cancel: str


class WantedAnswer(Answer):
    """An environment was asked for."""

    id: str
    status: Literal["queued", "built", "failed", "cancelled"]
    links: EnvironmentLinks


class BuiltAnswer(Answer):
    """An environment that a builder made."""

    id: str
    status: Literal["queued", "built", "failed", "cancelled"] = Field(
        description="Any but built only of one that was asked for by itself."
    )
    how: str | None = Field(
        description="built; or hit or joined, where its making is older than the log."
    )
    built_at: str | None
    by: str | None = Field(description="The builder that made it: process and host.")
    submission: str | None = Field(description="The one for which it was made; null: for itself.")
    sequence: int | None = Field(description="Of the event that told of it.")
    size_bytes: int | None = Field(description="Of its closure; null where it was not told.")
    hits: int = Field(description="How often it was there, or joined while it was built.")
    last_used: str | None
    links: EnvironmentLinks


class StorePathAnswer(Answer):
    """One path of a closure."""

    path: str
    size_bytes: int
    references: list[str] = Field(description="Store paths that it refers to, itself perhaps.")


class BuiltEnvironmentAnswer(BuiltAnswer):
    """All about it."""

    channel: str | None = Field(description="Revision of the channel that its shell was read with.")
    path: str | None
    closure: list[str] = Field(description="Every store path that it needs.")
    paths: list[StorePathAnswer] | None = Field(
        description="The same with sizes and references; null where its builder did not tell."
    )
    files: list[dict[str, Any]] = Field(description="What the shell could read.")
    result: StageAnswer | None = Field(description="The build: times, and its log as stderr.")
