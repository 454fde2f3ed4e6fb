"""A submission from its files to its last test case: compile once, run many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from init import cases, shell, stage, tree, view
from init.frames import CompileDone, End, Frame, RunDone
from init.limits import Stage
from init.outcome import Outcome
from init.profile import ProfileError, UnusableError
from init.remaining import Remaining
from init.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.box import Box
    from init.frames import Case, Environment, Job, JobFile, Report
    from init.limits import StageLimits
    from init.shell import Shell

_COMPILE: Final = "compile.sh"
_RUN: Final = "run.sh"
_PAGE: Final = 4096
#: Room for folders and rounding, where a template's size is nobody's limit.
_SLACK_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """What each run finds in its work folder: what compile left, and what it could not replace.

    `files` come from the request again, and seem as old as when compile began (`at_ns`): for
    make(1), what compile made of them is newer.
    """

    template: Scratch
    files: tuple[JobFile, ...] = ()
    at_ns: int = 0

    def used(self) -> tuple[int, int]:
        """The most bytes and inodes that it takes."""
        size, inodes = self.template.used()
        return (
            size + sum(len(file.content) + _PAGE for file in self.files),
            inodes + sum(len(tree.parts(file.name)) for file in self.files),
        )

    def lay_out(self, folder: str) -> None:
        """Put it into an empty folder."""
        tree.write(folder, self.files, self.at_ns)
        tree.copy(self.template.folder("work"), folder, [file.name for file in self.files])


def _is_kept(file: JobFile) -> bool:
    """A verdict is about the run.sh that was submitted, whatever compile makes of it."""
    return file.protected or file.name == _RUN


def perform(box: Box, job: Job) -> Iterator[Frame]:
    """Every frame of the job, each as soon as its stage is over."""
    environment = job.environment
    if environment is None:
        # brings Nix's part in, which no submission with a built environment needs
        from init import dependencies

        done = dependencies.build(job, box)
        yield done
        environment = done.environment
    if environment is not None:
        view.mount(box, environment.path)
        yield from _stages(box, job, environment)
    yield End()


def _stages(box: Box, job: Job, environment: Environment) -> Iterator[Frame]:
    compiles = any(file.name == _COMPILE for file in job.files)
    try:
        ready = shell.prepare(box, environment)
    except ProfileError as error:
        # what its author has made is a result; anything else was refused when it was built
        theirs = isinstance(error, UnusableError)
        outcome = Outcome.NONZERO_EXIT if theirs else Outcome.SANDBOX_ERROR
        report = stage.not_run(outcome, str(error))
        if compiles:
            yield CompileDone(report)
        else:
            yield from (RunDone(number, report) for number in range(len(job.cases)))
        return
    # a file takes whole pages
    size = sum(len(file.content) + _PAGE for file in job.files)
    room = job.limits[Stage.COMPILE].disk_bytes if compiles else size + _SLACK_BYTES
    # and no folder that leads to one is held against anybody
    inodes = sum(len(tree.parts(file.name)) for file in job.files)
    remaining = Remaining(job.total)
    with Scratch(f"{box.root}/compile", room, inodes) as template:
        given = Given(template)
        if compiles:
            given = Given(template, tuple(filter(_is_kept, job.files)), template.changed_ns())
            limits = job.limits[Stage.COMPILE]
            with remaining:
                report = _compile(box, job, remaining.within(limits), ready, template)
            report = remaining.charge(remaining.told(report, limits), limits)
            yield CompileDone(report)
            if report.outcome is not Outcome.OK:
                return
        else:
            tree.write(template.folder("work"), job.files)
        yield from _runs(box, job, ready, given, remaining)


def _runs(
    box: Box, job: Job, ready: Shell, given: Given, remaining: Remaining
) -> Iterator[RunDone]:
    """Every case's report; a case for which nothing is left of the total is not run."""
    limits = job.limits[Stage.RUN]
    at_once = min(job.cases_at_once, len(job.cases))

    def run(number: int) -> Report:
        if (refused := remaining.refused()) is not None:
            return refused
        if at_once > 1:
            view.renew(box)
        case, name = job.cases[number], f"run-{number}"
        within = remaining.within(limits)
        report = _run(box, within, ready, given, case=case, name=name)
        return remaining.told(report, limits)

    runs = cases.in_order(len(job.cases), at_once, run)
    while True:
        with remaining:
            done = next(runs, None)
        if done is None:
            return
        yield RunDone(done.case, remaining.charge(done.report, limits))


def _compile(box: Box, job: Job, limits: StageLimits, ready: Shell, scratch: Scratch) -> Report:
    try:
        tree.write(scratch.folder("work"), job.files)
    except OSError as error:
        return stage.no_room(error)
    words = shell.command(ready, scratch, _COMPILE, ())
    with shell.jail(box, ready, scratch, words) as jail:
        return stage.run(box, "compile", jail, limits, scratch=scratch)


def _run(
    box: Box, limits: StageLimits, ready: Shell, given: Given, *, case: Case, name: str
) -> Report:
    with Scratch(f"{box.root}/{name}", *given.used()) as scratch:
        try:
            given.lay_out(scratch.folder("work"))
        except OSError as error:
            return stage.no_room(error)
        # a run may write `disk_bytes` of its own: what it was given does not count against it
        scratch.allow(limits.disk_bytes)
        words = shell.command(ready, scratch, _RUN, case.args)
        with shell.jail(box, ready, scratch, words) as jail:
            return stage.run(box, name, jail, limits, stdin=case.stdin, scratch=scratch)
