"""A builder's job in a container of its own: plan, let the trusted side add, build, hand over.

    Build ─▶ evaluate ─▶ Planned … Provided ─▶ build ─▶ DependenciesDone … Export ─▶ Piece … End

An evaluation builds nothing. Where it reads a derivation's output (import from derivation), that
one is planned, provided and built first, and the evaluation begins again. Nothing here is trusted
by the builder: names are looked up, and bytes are checked, on its side.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from init import nar, nix, nix_answer
from init.dependencies import PrivateStore, is_hidden, left, together
from init.frames import DependenciesDone, End, Export, Frame, Piece, Planned, Provided, Stop
from init.outcome import Outcome
from init.wire import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.box import Box
    from init.frames import Build, Report
    from init.limits import StageLimits
    from init.nix_answer import Plan

#: An evaluation that reads the outputs of derivations begins again so often, and no oftener.
ROUNDS: Final = 8
#: Of the file system below the builds: with less, one may have met a full disk and gone on.
_LEAST_FREE_BYTES: Final = 16 * 1024 * 1024


class Channel(Protocol):
    """The conversation with the builder."""

    @property
    def fd(self) -> int: ...

    def receive(self) -> Frame | None: ...

    def send(self, frame: Frame) -> None: ...


class _Ended(Exception):
    """The build is over, with this report, which has what all steps have used."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.outcome)
        self.report = report


class _Stopped(Exception):
    """The builder wants no more of it, or is gone."""


def perform(box: Box, build: Build, channel: Channel) -> None:
    """All of one job, to its last frame."""
    private = PrivateStore(box)
    private.lay_out(build.files)
    private.mount()
    job = _Job(private, build.limits, channel)
    try:
        done = job.perform()
    except _Ended as ended:
        done = DependenciesDone(ended.report)
    except _Stopped:
        done = DependenciesDone(replace(job.used, outcome=Outcome.CANCELLED, exit_code=None))
    written = tuple(_written(private.upper)) if done.environment is not None else ()
    channel.send(replace(done, written=written))
    wanted = channel.receive()
    if isinstance(wanted, Export):
        _export(private.upper, wanted.names, channel)
    channel.send(End())


def _export(upper: str, names: tuple[str, ...], channel: Channel) -> None:
    """What can't be in a NAR ends it: the builder sees that it was cut short, and refuses it."""
    try:
        for piece in nar.pieces(upper, names):
            channel.send(Piece(piece))
    except nar.NarError as error:
        print(f"not handed over: {error}", file=sys.stderr)  # noqa: T201 - the pool logs it


class _Job:
    """One job's steps; each runs under what the steps before it have left of the limits."""

    def __init__(self, private: PrivateStore, limits: StageLimits, channel: Channel) -> None:
        self._private = private
        self._limits = limits
        self._channel = channel
        self._said = b""
        self.used = nix_answer.nothing_used()

    def perform(self) -> DependenciesDone:
        plan = self._plan()
        self._provide(plan)
        report = self._step(nix.build_script(*plan.derivations))
        return nix_answer.done(self._starved(report))

    def _plan(self) -> Plan:
        """Evaluate until nothing has to be built for it. Raises _Ended, _Stopped."""
        for _ in range(ROUNDS):
            said = self._said
            report = self._step(nix.plan_script())
            if report.outcome is Outcome.OK:
                return self._parsed(report)
            wanted = nix_answer.wanted_by_evaluation(report)
            if wanted is None:
                raise _Ended(nix_answer.instantiated(report))
            self._said = said  # that it could not be built was our own doing
            planned = self._step(nix.plan_of_script(wanted))
            if planned.outcome is Outcome.OK:
                self._provide(nix_answer.plan(planned.stdout))
                planned = self._step(nix.realise_script(wanted))
            if planned.outcome is not Outcome.OK:
                raise _Ended(nix_answer.instantiated(planned))
        why = f"its evaluation reads what it builds, more than {ROUNDS} times one after the other"
        raise _Ended(nix_answer.refused(replace(self.used, stderr=self._said), why))

    def _parsed(self, report: Report) -> Plan:
        plan = nix_answer.plan(report.stdout)
        if len(plan.derivations) != 2:  # noqa: PLR2004 - the inputs', and the shell's
            why = "shell.nix must evaluate to one mkShell derivation, not to several"
            raise _Ended(nix_answer.refused(replace(report, stdout=b"", stdout_total=0), why))
        return plan

    def _provide(self, plan: Plan) -> None:
        """Ask the trusted side for what it has of this. Raises _Stopped."""
        if not plan.built and not plan.fetched:
            return
        self._channel.send(Planned(plan.built, plan.fetched))
        match self._channel.receive():
            case Provided(registration):
                if registration:
                    self._private.add(registration)
            case Stop() | None:
                raise _Stopped
            case other:
                raise FrameError(f"a {type(other).__name__} instead of what was asked for")

    def _step(self, program: str) -> Report:
        """Run one program; its words come after those of the steps before. Raises _Ended."""
        rest = left(self._limits, self.used)
        if rest is None:
            cpu = self.used.cpu_seconds >= self._limits.cpu_seconds
            outcome = Outcome.CPU_TIME_LIMIT if cpu else Outcome.WALL_TIME_LIMIT
            raise _Ended(replace(self._sum(self.used), outcome=outcome, exit_code=None))
        ran = self._private.run(rest, program, stop_fd=self._channel.fd)
        report = self._sum(together(self.used, ran))
        self.used = replace(report, stdout=b"", stdout_total=0, stderr=b"", stderr_total=0)
        self._said = report.stderr
        if report.outcome is Outcome.CANCELLED:
            raise _Ended(report)
        return report

    def _sum(self, report: Report) -> Report:
        said = (self._said + report.stderr)[: self._limits.stderr_bytes]
        return replace(report, stderr=said, stderr_total=len(self._said) + report.stderr_total)

    def _starved(self, report: Report) -> Report:
        """A full disk is no figure of the cgroup's: it is looked at when the build is over."""
        free = os.statvfs(self._private.upper)
        if free.f_bavail * free.f_frsize >= _LEAST_FREE_BYTES and free.f_favail:
            return report
        met = "a full disk"
        return replace(report, starved=f"{report.starved} and {met}" if report.starved else met)


def _written(upper: str) -> Iterator[str]:
    with os.scandir(upper) as entries:
        for entry in entries:
            if not is_hidden(entry):
                yield entry.name
