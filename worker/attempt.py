"""One attempt: a container gets the job, and what it reports becomes events, as it happens."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from init.frames import CompileDone, DependenciesDone, End, Frame, Job, Report, RunDone
from init.limits import Stage
from init.outcome import Outcome
from streams.blobs import Blobs
from streams.content import Packer
from streams.errors import Conflict
from streams.events import Compiled, DepsBuilt, Finished, Known, Ran, Started
from streams.fold import Submission
from streams.log import EventLog
from streams.request import Request
from streams.results import run_result, stage_result
from streams.scribe import Scribe
from worker import judging, translate, verdict
from worker.decide import Run, begun, complete
from worker.errors import AttemptFailed
from worker.room import Room, cases_at_once

_LOGGER: Final = logging.getLogger(__name__)
_NOT_IN_TIME: Final = "no builder's environment was there in time"


class Store(Protocol):
    """What an attempt wants of the host's store."""

    def for_build(self, scratch: Path, uid: int, who: str) -> AbstractAsyncContextManager[None]: ...


class Box(Protocol):
    """A ready container, or what stands for one in a test."""

    name: str
    uid: int
    scratch: Path
    room: Room
    dead: asyncio.Event

    def hold(self, memory_bytes: int) -> None: ...

    async def send(self, job: Job) -> None: ...

    def frames(self, patience_seconds: float) -> AsyncIterator[Frame]: ...


class Attempt:
    """The story of one attempt, from `started` to `finished`.

    Raises AttemptFailed when it is lost through our fault, Conflict when the log refused an
    event because the submission was cancelled, ended or taken over.
    """

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        state: Submission,
        run: Run,
        *,
        by: str,
        store: Store,
        grace_seconds: float,
        compare_cpu_seconds: int,
    ) -> None:
        assert state.request is not None  # noqa: S101 - decide() lets nothing else run
        self.request: Request = state.request
        self._log = log
        self._blobs = blobs
        self._scribe = Scribe(log, state)
        self._run = run
        self._by = by
        self._store = store
        self._environment = run.environment
        self._cache_miss = None if not self.request.cache else _NOT_IN_TIME
        self._grace_seconds = grace_seconds
        self._compare_cpu_seconds = compare_cpu_seconds
        self._output_left = self.request.limits.total.output_bytes
        self.id = state.id
        #: Sequence of our `started`, once it is in the log.
        self.started: int | None = None
        #: Whether the log holds our `finished`.
        self.finished = False

    def miss(self, why: str) -> None:
        """The builder's environment is not on this host: the container builds its own."""
        self._environment = None
        self._cache_miss = why

    async def begin(self, box: Box) -> None:
        """Say `started`: from here on the log holds this attempt for the one that runs."""
        state = await self._record(
            Started(
                container=box.name,
                retry_because=self._run.retry_because,
                cases_at_once=cases_at_once(box.room, self.request),
                **self._whose(),
            )
        )
        self.started = state.sequence

    async def perform(self, box: Box) -> str:
        """Run the whole submission in `box`, after `begin`; returns its verdict."""
        job = await translate.job(
            self.id,
            self._run.attempt,
            self.request,
            self._environment,
            self._blobs,
            cases_at_once=cases_at_once(box.room, self.request),
        )
        async with AsyncExitStack() as until_built:
            if job.environment is None:
                await until_built.enter_async_context(self._for_build(box))
            await box.send(job)
            async for frame in box.frames(self._patience_seconds()):
                if isinstance(frame, DependenciesDone):
                    await until_built.aclose()
                await self._hear(frame)
                if verdict.stopped(self._scribe.state):
                    break  # the container is removed, and with it what runs by now
        state = self._scribe.state
        if not complete(state):
            raise AttemptFailed(f"init ended after {len(state.runs)} of {len(job.cases)} runs")
        told = verdict.of_submission(state)
        await self._record(Finished(verdict=told, **self._whose()))
        self.finished = True
        return told

    @asynccontextmanager
    async def _for_build(self, box: Box) -> AsyncIterator[None]:
        """What the host's store holds, for Nix in the container, and what it may reach."""
        async with AsyncExitStack() as stack:
            there = self._store.for_build(box.scratch, box.uid, self.id)
            try:
                await stack.enter_async_context(there)
            except (OSError, sqlite3.Error) as error:
                raise AttemptFailed(f"the container has nothing to build with: {error}") from error
            yield

    async def _hear(self, frame: Frame) -> None:
        packer = Packer()
        event: Known
        match frame:
            case End():
                return
            case DependenciesDone(report, built):
                event = DepsBuilt(
                    how="in-container",
                    result=stage_result(_ours(report), packer),
                    environment=None
                    if built is None
                    else translate.environment(
                        built, self._scribe.state.environment_id or "", packer
                    ),
                    cache_miss=self._cache_miss,
                    **self._whose(),
                )
            case CompileDone(report):
                self._charge(report)
                result = stage_result(_ours(report), packer)
                event = Compiled(result=result, **self._whose())
            case RunDone(case, report):
                self._charge(report)
                judged, told = await self._judge(case, _ours(report))
                run = run_result(case, judged, told, packer)
                event = Ran(result=run, **self._whose())
            case _:
                raise AttemptFailed(f"init said {type(frame).__name__} in the middle of a job")
        await self._blobs.put_all(packer.blobs)
        await self._record(event)

    def _charge(self, report: Report) -> None:
        """Init keeps to the total; one that does not is no init of ours any more."""
        self._output_left -= len(report.stdout) + len(report.stderr)
        if self._output_left < 0:
            raise AttemptFailed("init told of more output than limits.total.output_bytes allows")

    async def _judge(self, case: int, report: Report) -> tuple[Report, str | None]:
        """The verdict of one run, None when nothing was expected; and the report with its reason.

        Raises AttemptFailed when comparing failed through our fault.
        """
        test = self.request.test_cases[case]
        if test.expected_stdout is None:
            return report, None
        if report.outcome is not Outcome.OK:
            return report, verdict.of_run(report.outcome, same=False)  # nothing is compared
        expected = await self._blobs.bytes_of(test.expected_stdout)
        try:
            same = await judging.agrees(
                report.stdout, expected, test.compare, cpu_seconds=self._compare_cpu_seconds
            )
        except judging.ComparisonTooLong as error:
            return replace(report, message=str(error)), verdict.COMPARISON_LIMIT
        return report, verdict.of_run(report.outcome, same=same)

    async def _record(self, event: Known) -> Submission:
        """Append; what was said meanwhile and does not concern this attempt is no hindrance."""
        while True:
            try:
                return await self._scribe.record(event)
            except Conflict:
                state = await self._log.state(self.id)
                ours = begun(state) == self.started
                if state.ended or state.cancel_requested or not ours:
                    raise
                _LOGGER.warning("%s: %s was said meanwhile", self.id, state.timeline[-1].event)
                self._scribe = Scribe(self._log, state)

    def _patience_seconds(self) -> float:
        """Between two frames lies one stage."""
        limits = self.request.limits
        longest = max(limits.of(stage).wall_seconds for stage in Stage)
        return longest + self._grace_seconds

    def _whose(self) -> dict[str, Any]:
        return {"submission_id": self.id, "by": self._by, "attempt": self._run.attempt}


def _ours(report: Report) -> Report:
    """A stage that the sandbox failed is no result: the attempt is lost."""
    if report.outcome is Outcome.SANDBOX_ERROR:
        raise AttemptFailed(f"sandbox-error: {report.message or 'no reason given'}")
    return report
