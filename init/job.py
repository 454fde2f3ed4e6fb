"""A submission from its files to its last test case: compile once, run many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from init import cases, shell, stage, tree
from init.frames import CompileDone, End, Frame, RunDone
from init.limits import Stage
from init.outcome import Outcome
from init.profile import ProfileError, UnusableError
from init.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.box import Box
    from init.frames import Case, Environment, Job, Report
    from init.limits import StageLimits
    from init.shell import Shell

_COMPILE: Final = "compile.sh"
_RUN: Final = "run.sh"
_PAGE: Final = 4096
#: Room for folders and rounding, where a template's size is nobody's limit.
_SLACK_BYTES: Final = 16 * 1024 * 1024


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
    with Scratch(f"{box.root}/compile", room, inodes) as template:
        if compiles:
            compiled = CompileDone(_compile(box, job, ready, template))
            yield compiled
            if compiled.report.outcome is not Outcome.OK:
                return
        else:
            tree.write(template.folder("work"), job.files)
        limits = job.limits[Stage.RUN]

        def run(number: int) -> Report:
            case, name = job.cases[number], f"run-{number}"
            return _run(box, limits, ready, template, case=case, name=name)

        yield from cases.in_order(len(job.cases), job.cases_at_once, run)


def _compile(box: Box, job: Job, ready: Shell, scratch: Scratch) -> Report:
    try:
        tree.write(scratch.folder("work"), job.files)
    except OSError as error:
        return stage.no_room(error)
    words = shell.command(ready, scratch, _COMPILE, ())
    with shell.jail(box, ready, scratch, words) as jail:
        return stage.run(box, "compile", jail, job.limits[Stage.COMPILE], scratch=scratch)


def _run(
    box: Box, limits: StageLimits, ready: Shell, template: Scratch, *, case: Case, name: str
) -> Report:
    given_bytes, given_inodes = template.used()
    with Scratch(f"{box.root}/{name}", given_bytes, given_inodes) as scratch:
        try:
            tree.copy(template.folder("work"), scratch.folder("work"))
        except OSError as error:
            return stage.no_room(error)
        # a run may write `disk_bytes` of its own: what it was given does not count against it
        scratch.allow(limits.disk_bytes)
        words = shell.command(ready, scratch, _RUN, case.args)
        with shell.jail(box, ready, scratch, words) as jail:
            return stage.run(box, name, jail, limits, stdin=case.stdin, scratch=scratch)
