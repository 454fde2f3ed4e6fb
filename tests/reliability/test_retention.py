"""Old periods leave the log for files: whole, replayable, and nobody who is left notices."""

from __future__ import annotations

import gzip
import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from init.outcome import Outcome
from projector.rebuild import rebuild
from streams.archived import Register
from streams.archiving import DIGEST
from streams.blobs import Blobs
from streams.content import by_digest, inline
from streams.copying import copy
from streams.environments import Environment
from streams.errors import BlobMissing, CopyRefused
from streams.events import DepsBuilt, DepsQueued, Finished, Ran, Started, Submitted
from streams.limits import Limits
from streams.log import EventLog
from streams.readmodel import ReadModel
from streams.request import Request
from streams.results import RunResult, StageResult
from streams.server import ServerConfig, passwords, server
from streams.setup import LogSettings, setup
from streams.tidying import tidy
from tests.api.api_harness import running
from tests.conftest import Nats
from tests.integration.test_copying import elsewhere
from tests.projector.test_projector import is_the_fold, reaches, serving
from tests.projector.test_replay_command import run

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)
DAYS = [(NOW - timedelta(days=ago)).replace(hour=12) for ago in (9, 8, 7, 0)]
NAMES = [day.date().isoformat() for day in DAYS]
ONCE, OFTEN = b"a" * 100_000, b"b" * 100_000


@pytest_asyncio.fixture
async def kept(tmp_path, monkeypatch):
    """A log from which an admin may take what is older than a day."""
    monkeypatch.setenv("SANDSTREAM_KEEP_DAYS", "1")
    secrets = passwords(tmp_path / "secrets.json")
    async with server(ServerConfig(tmp_path / "nats", secrets, port=-1)) as (process, url):
        made = Nats(url, secrets, process)
        async with made.connect("admin") as client:
            await setup(client, LogSettings())
        yield made


def events_of(id_, days, *, environment="e", stdout=b"", how="built"):
    """A submission's events: each on the day that is said, the last day for those after it."""
    built = Environment(id=environment, path="/nix/store/x", closure=(), profile=inline(b"{}"))
    content = by_digest(stdout) if len(stdout) > 65536 else inline(stdout)
    result = RunResult(outcome=Outcome.OK, case=0, stdout=content, stdout_total=len(stdout))
    ok = StageResult(outcome=Outcome.OK)
    words = {"environment_id": environment, "channel": "c"}
    told = [
        Submitted(submission_id=id_, by="a", request=Request(files=()), **words),
        DepsQueued(submission_id=id_, by="a", files=(), limits=Limits(), **words),
        DepsBuilt(submission_id=id_, by="b", how=how, result=ok, environment=built),
        Started(submission_id=id_, by="w", attempt=1, container="c"),
        Ran(submission_id=id_, by="w", attempt=1, result=result),
        Finished(submission_id=id_, by="w", attempt=1, verdict="ok"),
    ]
    days = [*days, *[days[-1]] * len(told)]
    return [event.model_copy(update={"at": days[n]}) for n, event in enumerate(told)]


async def tell(log, events, after=0):
    for event in events:
        after = await log.append(event, after=after)
    return after


@asynccontextmanager
async def past(nats):
    """Three days and today; one submission goes over midnight, one has not ended on the third."""
    first, second, third, today = DAYS
    async with serving(nats) as projector, nats.connect("admin") as admin:
        log, model = EventLog(admin), ReadModel(projector)
        contents = {hashlib.sha256(data).hexdigest(): data for data in (ONCE, OFTEN)}
        await Blobs(admin).put_all(contents)
        await tell(log, events_of("s1", [first], environment="gone"))
        await tell(log, events_of("s2", [first], stdout=ONCE))
        over = events_of("s3", [first, first, second])
        after = await tell(log, over[:2])
        await tell(log, events_of("s4", [second], stdout=OFTEN))
        await tell(log, over[2:], after)
        waits = events_of("s5", [third, third, today])
        after = await tell(log, waits[:2])
        await tell(log, events_of("s6", [third]))
        last = await tell(log, events_of("s7", [today], stdout=OFTEN, how="hit"))
        await reaches(model, last)

        async def ends():
            await reaches(model, await tell(log, waits[2:], after))

        yield admin, projector, model, ends


def archived(nats, folder, *more):
    argv = ("streams", "archive", "--folder", str(folder), "--period", "day", *more)
    return run(nats, "admin", *argv)


async def test_periods_leave_whole_and_everything_else_stays_as_it_was(kept, tmp_path):
    folder = tmp_path / "archive"
    async with past(kept) as (admin, projector, model, ends), running(kept) as api:
        log = EventLog(admin)
        before = (await api.get("/submissions/s7")).json()
        code, out, err = await archived(kept, folder)
        assert code == 0, err
        # The third day holds one that has not ended.
        assert sorted(file.name for file in folder.glob("*.gz")) == [
            f"{name}.jsonl.gz" for name in NAMES[:2]
        ]
        assert (await log.extent()).first == 25
        code, out, err = await archived(kept, folder)
        assert (code, "s5 has not ended" in out) == (0, True), err

        answer = await api.get("/submissions/s1")
        assert answer.status_code == 410
        assert answer.json()["period"] == NAMES[0]
        for path in ("history", "events", "runs/0/stdout"):
            assert (await api.get(f"/submissions/s3/{path}")).status_code == 410
        assert (await api.get("/submissions/s3", params={"at": 9})).status_code == 410
        assert (await api.get("/submissions/nobody")).status_code == 404
        listed = (await api.get("/submissions")).json()["submissions"]
        assert [one["id"] for one in listed] == ["s7", "s6", "s5"]
        assert (await api.get("/submissions/s7")).json() == before
        built = {one["id"]: one for one in (await api.get("/environments")).json()}
        assert built.keys() == {"e"}
        assert (await api.get("/environments/e")).status_code == 200

        await ends()
        code, out, err = await archived(kept, folder)
        assert code == 0, err
        # Of the one that went over midnight the end is still in the log, and is no submission.
        assert (await api.get("/submissions/s5")).status_code == 410
        code, out, err = await run(kept, "auditor", "streams", "replay", "--quiet")
        assert code == 0, err
        assert "the rest of 1 submissions" in out
        assert "1 agree, 0 behind, 0 differ" in out
        report = await rebuild(projector, log, model)
        assert (report.comparison.equal, report.comparison.only_old) == (1, [])
        assert (await (await model.live()).progress()).open == 0
        await is_the_fold(kept, ["s7"])
        new = await api.new()
        assert (await api.get(f"/submissions/{new}")).json()["timeline"][0]["sequence"] > 42

    files = sorted(folder.glob("*.gz"))
    code, out, err = await run(kept, "auditor", "streams", "replay", "--archive", *map(str, files))
    assert code == 0, err
    assert "32 events, 6 submissions, 0 damaged" in out
    assert len(out.splitlines()) == 33


async def test_key_of_an_archived_submission_is_not_a_new_one(kept, tmp_path):
    from api.ids import id_of_key

    id_ = id_of_key("again")
    async with serving(kept) as projector, kept.connect("admin") as admin, running(kept) as api:
        last = await tell(EventLog(admin), events_of(id_, DAYS[:1]))
        await reaches(ReadModel(projector), last)
        code, _, err = await archived(kept, tmp_path / "archive")
        assert code == 0, err
        answer = await api.post(headers={"Idempotency-Key": "again"})
        assert answer.status_code == 410
        assert "use a new key" in answer.json()["detail"]


async def test_blobs_that_nobody_names_any_more_go_at_a_later_run(kept, tmp_path):
    once, often = by_digest(ONCE), by_digest(OFTEN)
    async with past(kept) as (admin, _, _, _):
        blobs = Blobs(admin)
        code, _, err = await archived(kept, tmp_path / "archive")
        assert code == 0, err
        assert await blobs.bytes_of(once) == ONCE
        # Wanted again before it went: it stays.
        await blobs.put_all({once.sha256: ONCE})
        done = await tidy(admin, timedelta(0))
        assert (done.blobs.marked, done.blobs.removed) == (1, 0)
        done = await tidy(admin, timedelta(0))
        assert (done.blobs.marked, done.blobs.removed) == (0, 1)
        with pytest.raises(BlobMissing):
            await blobs.bytes_of(once)
        assert await blobs.bytes_of(often) == OFTEN
        await blobs.put_all({once.sha256: ONCE})
        assert await blobs.bytes_of(once) == ONCE


async def test_files_that_were_changed_or_are_missing_are_found(kept, tmp_path):
    folder = tmp_path / "archive"
    async with past(kept) as (_, _, _, ends):
        await ends()
        code, _, err = await archived(kept, folder)
        assert code == 0, err
    files = sorted(folder.glob("*.gz"))
    assert len(files) == 3
    lines = gzip.decompress(files[1].read_bytes())
    parts = lines.splitlines(keepends=True)
    changes = {
        "a word": lines.replace(b'"verdict":"ok"', b'"verdict":"no"', 1).replace(
            b'\\"verdict\\":\\"ok\\"', b'\\"verdict\\":\\"no\\"', 1
        ),
        "a line less": b"".join(parts[:4] + parts[5:]),
        "its end": lines[: len(lines) // 2],
    }
    for what, changed in changes.items():
        assert changed != lines, what
        other = tmp_path / "changed.jsonl.gz"
        other.write_bytes(gzip.compress(changed))
        code, _, err = await run(
            kept, "auditor", "streams", "replay", "--quiet", "--archive", str(other)
        )
        assert code == 1, what
        assert "changed.jsonl.gz: " in err, what
    code, _, err = await run(
        kept, "auditor", "streams", "replay", "--quiet", "--archive", str(files[0]), str(files[2])
    )
    assert code == 1
    assert "are missing" in err


async def test_run_that_was_cut_short_is_taken_up(kept, tmp_path, monkeypatch):
    """After everything was written and noted, but before anything was removed."""
    from streams import archiving
    from streams.archiving import archive

    folder = tmp_path / "archive"
    async with past(kept) as (admin, _, _, _):

        class Cut(Exception):
            pass

        async def cut(*_args, **_kwargs):
            raise Cut

        before = datetime.now(UTC) - timedelta(days=1)
        js = type(admin.jetstream())
        with monkeypatch.context() as patch:
            patch.setattr(js, "purge_stream", cut)
            with pytest.raises(Cut):
                await archiving.archive(admin, folder, before, "day", lambda _: None)
        assert (await EventLog(admin).extent()).first == 1
        written = {file.name: file.read_bytes() for file in folder.glob("*.gz")}
        gone = await archive(admin, folder, before, "day", lambda _: None)
        assert [one.head.period for one in gone] == NAMES[:2]
        assert gone[1].head.previous == gone[0].end.digest
        assert {n: (folder / n).read_bytes() for n in written} == written
        assert (await EventLog(admin).extent()).first == 25


async def test_log_that_is_kept_for_ever_lets_nothing_go(nats, tmp_path, monkeypatch):
    code, _, err = await archived(nats, tmp_path / "archive")
    assert (code, "everything stays for ever" in err) == (1, True)
    monkeypatch.setenv("SANDSTREAM_KEEP_DAYS", "1")
    code, _, err = await archived(nats, tmp_path / "archive", "--before", NOW.isoformat())
    assert (code, "on stays" in err) == (1, True)
    code, _, err = await archived(nats, tmp_path / "archive")
    assert code == 1
    assert "made to be kept for ever" in err
    async with nats.connect("admin") as admin:
        await setup(admin, LogSettings(keep_days=1))
        info = await admin.jetstream().stream_info("SUBMISSIONS")
        assert info.config.deny_purge


async def test_what_is_left_is_copied_from_where_it_begins(kept, tmp_path):
    async with past(kept) as (admin, _, _, ends):
        await ends()
        code, _, err = await archived(kept, tmp_path / "archive")
        assert code == 0, err
        before = await EventLog(admin).extent()
        async with elsewhere(tmp_path) as target:
            report = await copy(admin, target, LogSettings(), lambda _: None)
            assert report.extent == await EventLog(target).extent() == before
            assert (await Register(target).find("s1")).period == NAMES[0]
            noted = [(await one.jetstream().stream_info("SUBMISSIONS")) for one in (admin, target)]
            digests = [info.config.metadata[DIGEST] for info in noted]
            assert digests[0] == digests[1]
        async with elsewhere(tmp_path / "second") as target:
            await setup(target, LogSettings())
            with pytest.raises(CopyRefused, match="begins at 1"):
                await copy(admin, target, LogSettings(), lambda _: None)
