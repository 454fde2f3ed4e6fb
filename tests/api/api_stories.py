"""What the other services say of a submission, for tests of what clients see."""

from __future__ import annotations

from init.outcome import Outcome
from streams import content
from streams.events import Compiled, DepsBuilt, Finished, Ran, Started
from streams.results import RunResult, StageResult


def built(id_, how="built"):
    return DepsBuilt(
        submission_id=id_, by="builder@t", how=how, result=StageResult(outcome=Outcome.OK)
    )


def worker_events(id_, stdout=b"42\n", *, compiled=False):
    """From `started` to `finished`, one run."""
    told = [Started(submission_id=id_, by="worker@t", attempt=1, container="c1")]
    if compiled:
        told.append(
            Compiled(
                submission_id=id_, by="worker@t", attempt=1,
                result=StageResult(outcome=Outcome.OK, exit_code=0),
            )
        )  # fmt: skip
    result = RunResult(
        case=0, outcome=Outcome.OK, exit_code=0, wall_seconds=0.1, verdict="accepted",
        stdout=stdout if isinstance(stdout, content.Content) else content.inline(stdout),
        stdout_total=stdout.size if isinstance(stdout, content.Content) else len(stdout),
    )  # fmt: skip
    return [
        *told,
        Ran(submission_id=id_, by="worker@t", attempt=1, result=result),
        Finished(submission_id=id_, by="worker@t", attempt=1, verdict="accepted"),
    ]


async def tell(log, events, after):
    for event in events:
        after = await log.append(event, after=after)
    return after


async def finish(api, id_, **kwargs):
    """Everything that follows deps-queued."""
    last = (await api.log.state(id_)).sequence
    async with api.says("builder") as builder:
        last = await tell(builder, [built(id_)], last)
    async with api.says("worker") as worker:
        return await tell(worker, worker_events(id_, **kwargs), last)
