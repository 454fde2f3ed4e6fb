"""One real build: a daemon of the job's own, an evaluation in the other container, a GC root.

Where there are binary caches, the shell is evaluated first, and what the caches have of its
inputs is fetched by us: no derivation of a user's ever meets a network, unless `open`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from builder import daemon as daemons
from builder import decide, evaluator, nixstore
from builder.builds import Built, Order
from builder.catalogue import Catalogue, Record
from builder.daemon import Daemon
from builder.errors import DaemonFailed, StoreFailed
from builder.jobs import JobFolders, Places, put_roots_aside
from builder.keeper import Keeper, keeper, stopped_with
from builder.shared import Shared
from egress.proxy import serving
from egress.rules import Rule
from init import nix, nix_answer
from init.frames import Delegated, DependenciesDone, Environment, Job, Report
from init.limits import Stage, StageLimits
from init.outcome import Outcome
from init.wire import Decoder
from streams.environments import STORE_PATHS
from streams.events import now

_LOGGER: Final = logging.getLogger(__name__)
_READY_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Network:
    """What the dependencies stage may reach: caches, by our own fetch, and with `open` anything.

    `config` are the Nix settings of a fetch; empty: none. Fixed-output derivations may reach what
    is `allowed`, by a proxy, and where it is `open` all that the host reaches.
    """

    config: str = ""
    open: bool = False
    allowed: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Nix:
    """What builds are made with: our folders, the store, our cgroups, and what may be reached."""

    places: Places
    store: Path
    delegated: Delegated
    shared: Shared
    network: Network


#: So often an environment's build may say that its daemon has died.
_BELIEVED_TIMES: Final = 3
_REMEMBERED: Final = 10_000


class Shells:
    """Builds shells with the store beside us. `build` is the `Build` that `Builds` calls."""

    def __init__(self, made_with: Nix, catalogue: Catalogue) -> None:
        self._places = made_with.places
        self._store = made_with.store
        self._database = self._store / "var/nix/db/db.sqlite"
        self._delegated = made_with.delegated
        self._shared = made_with.shared
        self._network = made_with.network
        self._catalogue = catalogue
        self._evaluator = _evaluator_group(self._places)
        self._number = itertools.count(1)
        self._said_gone: Counter[str] = Counter()
        self._killed = True  # an earlier life may have been, with its builds

    async def build(self, order: Order, stop: asyncio.Event) -> Built:
        """The environment, or the report of why there is none. Raises BuilderError."""
        if self._killed:
            # in one call, so that the lock is held for as long as it goes on, cancelled or not
            aside = (self._shared, self._store, self._shared.aside)
            self._killed = not await asyncio.to_thread(put_roots_aside, *aside)
        built = None
        try:
            async with self._shared.used():
                built = await self._build(order, stop)
        finally:
            self._killed = self._killed or built is None or built.record is None
        return built

    async def _build(self, order: Order, stop: asyncio.Event) -> Built:
        began = time.monotonic()
        name = f"{order.environment_id}-{next(self._number)}"
        _LOGGER.info("environment %s: building it", order.environment_id)
        async with (
            self._places.job(name) as job,
            serving(job.proxy, self._network.allowed, f"environment {order.environment_id}"),
            keeper(self._daemon(job, order)) as kept,
        ):
            ready = await self._ready(kept, job)
            if not ready:
                return Built(await self._ended(kept, order))
            with stopped_with(kept, stop) as ending:
                done = await self._evaluations(job, order, ending)
            builds = await kept.stop()
        report = decide.together(done.report, builds, order.limits)
        seconds = time.monotonic() - began
        if (why := _our_fault(report, builds)) is not None:
            return self._at_fault(order, name, why)
        gone = report.outcome is Outcome.NONZERO_EXIT and nix_answer.daemon_gone(report.stderr)
        if gone and self._believed(order.environment_id):
            return self._at_fault(order, name, _tail(report))
        if report.outcome is not Outcome.OK or done.environment is None:
            return Built(replace(report, wall_seconds=seconds))
        record = await self._record(order, done.environment, seconds)
        since = time.time() - seconds
        larger = await asyncio.to_thread(self._too_large, report, record, order.limits, since)
        if larger is not None:
            return Built(larger)
        await self._catalogue.keep(record)
        return Built(replace(report, wall_seconds=time.monotonic() - began), record)

    async def _evaluations(
        self, job: JobFolders, order: Order, stop: asyncio.Event
    ) -> DependenciesDone:
        """Where there are caches: evaluate, fetch, and only then build."""
        if not self._network.config:
            return await self._evaluate(job, order, stop, "socket")
        began = time.monotonic()
        first = await self._evaluate(job, order, stop, "instantiate")
        if first.report.outcome is not Outcome.OK:
            return first
        fetched = await self._fetch(job, order, first.report.stdout, stop)
        left = decide.left(order.limits, first.report, fetched, time.monotonic() - began)
        if isinstance(left, Outcome):
            used_up = decide.sum_of(first.report, fetched)
            return DependenciesDone(replace(used_up, outcome=left, message="while it was fetched"))
        second = await self._evaluate(job, replace(order, limits=left), stop, "socket")
        return replace(second, report=decide.sum_of(second.report, first.report, fetched))

    async def _fetch(
        self, job: JobFolders, order: Order, said: bytes, stop: asyncio.Event
    ) -> Report:
        """A fetch that fails is a cache miss: what is missing is built."""
        derivation = said.decode(errors="replace").strip()
        if not nix.is_store_path(derivation) or not derivation.endswith(".drv"):
            _LOGGER.warning("the evaluator named no derivation: %.200r", derivation)
            return decide.nothing_yet()
        asked = self._daemon(job, order)
        fetch = replace(
            asked,
            name=f"{job.name}-fetch",
            derivation=derivation,
            config=self._network.config,
            limits=order.limits,
        )
        async with keeper(fetch) as kept:
            with stopped_with(kept, stop) as ending:
                await ending.wait()
            report = await kept.stop()
        if report.outcome is not Outcome.OK:
            _LOGGER.warning(
                "environment %s: not all could be fetched: %s: %s",
                order.environment_id,
                report.outcome,
                _tail(report),
            )
        return report

    async def _evaluate(
        self, job: JobFolders, order: Order, stop: asyncio.Event, program: str
    ) -> DependenciesDone:
        asked = Job(job.name, 0, order.files, (), {Stage.DEPENDENCIES: order.limits})
        socket = self._places.run / "evaluator" / program
        return await evaluator.evaluate(
            socket, asked, wall_seconds=order.limits.wall_seconds, stop=stop
        )

    def _believed(self, environment_id: str) -> bool:
        """Whether words that say that our daemon has died are taken for true.

        A shell can say the same, and would be built again for ever: so a few times for each.
        """
        if len(self._said_gone) > _REMEMBERED:
            self._said_gone.clear()
        self._said_gone[environment_id] += 1
        return self._said_gone[environment_id] <= _BELIEVED_TIMES

    def _at_fault(self, order: Order, name: str, words: str) -> Built:
        """Ours, and tried again; unless the request's own limits leave no room to begin."""
        report = decide.too_low(order.limits)
        if report is None:
            raise DaemonFailed(name, words)
        return Built(report)

    async def _record(self, order: Order, found: Environment, seconds: float) -> Record:
        """What is there now; its closure as the store says: the evaluator is not believed."""
        path = found.closure[0]
        if not nix.is_store_path(path):
            raise StoreFailed(nix.closure_argv(path), None, "the evaluator named no store path")
        closure = await nixstore.closure(path)
        paths = await asyncio.to_thread(nixstore.described, self._database, closure)
        return Record(
            id=order.environment_id,
            path=path,
            closure=tuple(sorted(closure)),
            profile=found.profile.decode(errors="replace"),
            built_at=now().isoformat(),
            build_seconds=round(seconds, 3),
            size_bytes=sum(one.size_bytes for one in paths),
            paths=STORE_PATHS.dump_json(paths).decode(),
        )

    def _too_large(
        self, report: Report, record: Record, limits: StageLimits, since: float
    ) -> Report | None:
        """The result, where what came for it is above a limit: it grew too quickly to be seen."""
        if (words := nix_answer.too_large(record.closure)) is not None:
            return nix_answer.refused(report, words)
        sizes = nixstore.sizes_of(self._database, since)
        added = {path: sizes[path] for path in record.closure if path in sizes}
        if (size := sum(added.values())) > limits.disk_bytes:
            return decide.too_large(report, size, limits)
        most = limits.file_size_bytes
        suspects = (Path(path).name for path, size in added.items() if size > most)
        if any(nixstore.largest_file(self._store / "store" / name) > most for name in suspects):
            return decide.too_large_a_file(report, limits)
        return None

    def _daemon(self, job: JobFolders, order: Order) -> Daemon:
        return Daemon(
            name=job.name,
            folder=str(job.folder),
            scratch=str(job.scratch),
            store=str(self._store),
            cgroups=str(self._places.cgroups),
            delegated=self._delegated,
            limits=daemons.limits_for(order.limits),
            file_size_bytes=order.limits.file_size_bytes,
            network=self._network.open,
            proxy=str(job.proxy) if self._network.allowed else "",
            beside=f"{self._evaluator}/{job.name}" if self._evaluator else "",
        )

    async def _ready(self, kept: Keeper, job: JobFolders) -> bool:
        """Whether the daemon listens; False when it ended before. Raises DaemonFailed."""
        deadline = time.monotonic() + _READY_SECONDS
        while not kept.report.done():
            if job.socket.exists():
                return True
            if time.monotonic() > deadline:
                raise DaemonFailed(job.name, f"no socket after {_READY_SECONDS:g} s")
            await asyncio.sleep(0.005)
        return False

    async def _ended(self, kept: Keeper, order: Order) -> Report:
        """A daemon that ended before it listened: its limits were too low, or we failed."""
        report = await kept.report
        if report.outcome is Outcome.OK or decide.daemon_broke(report):
            words = f"{report.outcome}: {report.message}: {_tail(report)}"
            return self._at_fault(order, kept.name, words).report
        return report


def _evaluator_group(places: Places) -> str:
    """Where the evaluator's jobs are counted, as the host told it; empty: it has not yet."""
    try:
        data = (places.run / "evaluator" / "delegated").read_bytes()
    except OSError:
        return ""
    for frame in Decoder().feed(data):
        if isinstance(frame, Delegated):
            return frame.folders["cpuacct"]
    return ""


def _our_fault(report: Report, builds: Report) -> str | None:
    """Why it failed, where that says nothing of the shell."""
    if report.outcome is not Outcome.OK and decide.daemon_broke(builds):
        return f"{builds.outcome}: {_tail(builds)}"
    if report.outcome is Outcome.SANDBOX_ERROR:
        return f"the evaluator's jail: {report.message}"
    return None


def _tail(report: Report) -> str:
    return report.stderr.decode(errors="replace")[-1000:].strip()
