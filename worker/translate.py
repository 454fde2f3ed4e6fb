"""From the log's words to the box's: a request becomes a job."""

from __future__ import annotations

from init import frames
from init.frames import Case, Job, JobFile
from init.limits import Stage
from streams.blobs import Blobs
from streams.content import Content, Packer
from streams.environments import Environment
from streams.request import Request, TestCase


def environment(built: frames.Environment, id_: str, packer: Packer) -> Environment:
    """What a container built for itself. It has no path of its own: nobody else ever sees it."""
    return Environment(id=id_, path="", closure=built.closure, profile=packer.pack(built.profile))


async def job(
    submission_id: str,
    attempt: int,
    request: Request,
    built: Environment | None,
    blobs: Blobs,
    *,
    cases_at_once: int = 1,
) -> Job:
    """All that init needs. Raises BlobMissing, LogUnavailable."""
    fetched: dict[str, bytes] = {}

    async def bytes_of(content: Content) -> bytes:
        if content.sha256 is None:
            return await blobs.bytes_of(content)
        if content.sha256 not in fetched:
            fetched[content.sha256] = await blobs.bytes_of(content)
        return fetched[content.sha256]

    async def case(one: TestCase) -> Case:
        # frames hold text: bytes that are no UTF-8 go as lone surrogates, as Python itself does it
        args = (arg.decode(errors="surrogateescape") for arg in one.arguments())
        return Case(await bytes_of(one.stdin), tuple(args))

    return Job(
        submission_id=submission_id,
        attempt=attempt,
        files=tuple(
            [JobFile(f.name, await bytes_of(f.content), f.protected) for f in request.files]
        ),
        cases=tuple([await case(c) for c in request.test_cases]),
        limits={stage: request.limits.of(stage) for stage in Stage},
        environment=None
        if built is None
        else frames.Environment(built.closure, await bytes_of(built.profile), built.path),
        cases_at_once=cases_at_once,
        total=request.limits.total,
    )
