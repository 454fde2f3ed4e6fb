"""What an attempt may rely on, of the real container and of the fake that stands in for it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from init.frames import Case, End, Environment, Job, JobFile, RunDone
from init.limits import Stage, defaults
from tests.sandbox import store
from tests.worker.conftest import cgroups_of, docker, until
from tests.worker.fake import FakeContainer, echo
from worker.engine import engine
from worker.errors import AttemptFailed, ContainerFailed
from worker.spec import Plan
from worker.uids import Uids

pytestmark = pytest.mark.integration


def job(run: str, *stdins: bytes) -> Job:
    return Job(
        submission_id="s",
        attempt=1,
        files=(JobFile("run.sh", run.encode()),),
        cases=tuple(Case(stdin) for stdin in stdins),
        limits={stage: defaults(stage) for stage in Stage},
        environment=Environment((store.SHELL,), store.profile()),
    )


class Contract:
    """`box` makes a ready container, to which `cat` echoes and `sleep` is silent."""

    async def test_a_job_is_answered_case_by_case_and_end_is_last(self, box):
        async with box() as container:
            await container.send(job("cat", b"one", b"two"))
            frames = [frame async for frame in container.frames(30)]
        assert [type(frame) for frame in frames] == [RunDone, RunDone, End]
        assert [frame.report.stdout for frame in frames[:2]] == [b"one", b"two"]

    async def test_a_silent_one_is_given_up(self, box):
        async with box() as container:
            await container.send(job("sleep 5", b""))
            with pytest.raises(AttemptFailed, match=r"said nothing for 0\.2 s"):
                [frame async for frame in container.frames(0.2)]

    async def test_a_killed_one_is_a_lost_attempt_with_its_exit_code(self, box):
        async with box() as container:
            await container.send(job("sleep 5", b""))
            asyncio.get_running_loop().call_later(
                0.2, lambda: asyncio.ensure_future(container.kill())
            )
            with pytest.raises(AttemptFailed, match="ended with exit code 137"):
                [frame async for frame in container.frames(30)]
            assert container.dead.is_set()

    async def test_one_that_died_idle_says_so_and_takes_no_job(self, box):
        async with box() as container:
            await container.kill()
            await asyncio.wait_for(container.dead.wait(), 10)
            with pytest.raises(AttemptFailed):  # noqa: PT012 - which of the two is a race
                await container.send(job("cat", b""))
                [frame async for frame in container.frames(30)]


class TestFake(Contract):
    @pytest.fixture
    def box(self):
        def answer(asked: Job):
            return [20.0, End()] if b"sleep" in asked.files[0].content else echo(asked)

        @asynccontextmanager
        async def make():
            yield FakeContainer(answer)

        return make


@pytest.fixture
async def host(state, made, tmp_path):
    """The engine with a plan of this test's own."""
    plan = Plan(
        worker=f"test-{tmp_path.name}",
        instance="i",
        image=made.runner,
        state=state,
        scratch=tmp_path,
        cgroups=Path("/sys/fs/cgroup"),
        memory_bytes=2**30,
        processes=256,
        cpus=2,
        ready_seconds=20,
    )
    async with engine(Path("/var/run/docker.sock"), plan) as running:
        yield running
    assert docker("ps", "-aq", "--filter", f"label=sandstream.worker={plan.worker}") == ""
    assert list(tmp_path.iterdir()) == []


class TestReal(Contract):
    @pytest.fixture
    def box(self, host):
        uids = Uids(range(290_000_000, 290_000_008))
        return lambda: host.container(uids)


async def test_nothing_is_left_when_its_making_is_cancelled_at_any_moment(host):
    uids = Uids(range(290_000_100, 290_000_101))
    for milliseconds in (0, 5, 20, 40, 60, 80, 100, 150, 250):

        async def hold():
            async with host.container(uids):
                await asyncio.sleep(10)

        task = asyncio.create_task(hold())
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with uids.lent() as uid:
        assert uid == 290_000_100


async def test_cgroups_are_gone_after_a_kill_in_the_middle_of_a_stage(host):
    async with host.container(Uids(range(290_000_200, 290_000_201))) as container:
        await container.send(job("sleep 20", b""))
        id_ = docker("inspect", "--format", "{{.Id}}", container.name).strip()
        await until(lambda: any(any(group.glob("jail/*/")) for group in cgroups_of(id_)))
    assert cgroups_of(id_) == []


async def test_an_image_that_is_not_there_is_told(state, tmp_path):
    plan = Plan(
        worker="test", instance="i", image="sandstream-no-such-image", state=state,
        scratch=tmp_path, cgroups=Path("/sys/fs/cgroup"), memory_bytes=2**30, processes=64,
        cpus=1, ready_seconds=5,
    )  # fmt: skip
    async with engine(Path("/var/run/docker.sock"), plan) as host:
        with pytest.raises(ContainerFailed, match="No such image"):
            async with host.container(Uids(range(290_000_300, 290_000_301))):
                pass
    assert list(tmp_path.iterdir()) == []
