"""One real build: a container of its own makes the shell, we keep what it made as one store path.

    container: evaluate ─▶ plan      build ─▶ closure and profile      NAR of its own paths
    we:                      add what is trusted                         check, import, root

The container is the user's: it may lie about all that it says. So names are checked, which paths
are trusted is read from our own database, and the bytes become `…-environment-<id>`, a path that
only submissions with exactly these shell files ever see.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from builder import box as boxes
from builder import decide, nixstore
from builder.box import Box
from builder.builds import Built, Order
from builder.catalogue import Catalogue, Record
from builder.errors import AttackedStore, BoxGone, StaleStore
from builder.jobs import Places, put_roots_aside
from builder.keep import add_environment
from builder.nar import NarRefused
from builder.provide import Provider
from builder.shared import Shared
from init import nix, nix_answer
from init.builds import ROUNDS
from init.frames import Build, DependenciesDone, Environment, Planned, Provided, Report
from init.limits import KIB, MIB, StageLimits
from init.outcome import Outcome
from streams.environments import STORE_PATHS
from streams.events import now

_LOGGER: Final = logging.getLogger(__name__)
#: Beyond the wall limit, which init itself enforces.
_GRACE_SECONDS: Final = 30.0
#: What a NAR has beside the files' bytes counts for nobody.
_NAR_SLACK_BYTES: Final = MIB
#: Of a report: what init adds to Nix's words.
_WORDS_BYTES: Final = 64 * KIB
#: So often a build can ask for what is trusted: in each round of its evaluation, and once after.
_ASKS: Final = ROUNDS + 1


@dataclass(frozen=True, slots=True)
class Nix:
    """What builds are made with: our folders, the store, and the limits of a host's default."""

    places: Places
    store: Path
    shared: Shared
    defaults: StageLimits

    @property
    def pool(self) -> Path:
        """The socket of the build containers' pool."""
        return self.places.run / "pool"


class Shells:
    """Builds shells. `build` is the `Build` that `Builds` calls."""

    def __init__(self, made_with: Nix, provider: Provider, catalogue: Catalogue) -> None:
        self._with = made_with
        self._database = made_with.store / "var/nix/db/db.sqlite"
        self._provider = provider
        self._catalogue = catalogue
        self._number = itertools.count(1)
        self._killed = True  # an earlier life may have been, with its builds

    async def build(self, order: Order, stop: asyncio.Event) -> Built:
        """The environment, or the report of why there is none. Raises BuilderError."""
        shared = self._with.shared
        if self._killed:
            # in one call, so that the lock is held for as long as it goes on, cancelled or not
            aside = (shared, self._with.store, shared.aside)
            self._killed = not await asyncio.to_thread(put_roots_aside, *aside)
        async with shared.used():
            return await self._build(order, stop)

    async def _build(self, order: Order, stop: asyncio.Event) -> Built:
        began, since = time.monotonic(), int(time.time())
        name = f"{order.environment_id}-{next(self._number)}"
        _LOGGER.info("environment %s: building it", order.environment_id)
        async with boxes.taken(self._with.pool, name) as box:
            async with boxes.stopping(box, stop):
                await box.send(Build(name, order.files, order.limits))
                done = await self._answer(box, order)
                report = replace(done.report, wall_seconds=time.monotonic() - began)
            if report.outcome is Outcome.SANDBOX_ERROR:
                return self._at_fault(order, name, report.message or "no reason given")
            if report.outcome is not Outcome.OK or done.environment is None:
                return Built(report)
            try:
                record = await self._keep(order, done, box, since, time.monotonic() - began)
            except NarRefused as refused:
                return Built(_refused(report, refused, order.limits))
            except AttackedStore as attack:
                _LOGGER.error("%s", attack)  # noqa: TRY400 - it is the shell's doing
                told = nix_answer.refused(report, str(attack))
                return Built(replace(told, message=str(attack)))
        why = decide.why_private(order.limits, self._with.defaults, report.starved)
        if why:
            _LOGGER.info("environment %s: for one submission alone: %s", record.id, why)
            record = replace(record, private_to=order.submission_id)
        await self._catalogue.keep(record)
        return Built(replace(report, wall_seconds=time.monotonic() - began), record)

    async def _answer(self, box: Box, order: Order) -> DependenciesDone:
        """How the build ended; until then what it lacks is provided. Raises BoxGone."""
        left = order.limits.wall_seconds + _GRACE_SECONDS
        asked = 0
        while True:
            since = time.monotonic()
            said = await box.receive(left)
            # of the container's own time: how long we take to provide is not its doing
            left -= time.monotonic() - since
            match said:
                case Planned() as planned if asked < _ASKS:
                    asked += 1
                    await box.send(Provided(await self._provider.provide(planned)))
                case DependenciesDone() as done:
                    return _within(order, done)
                case other:
                    raise BoxGone(order.environment_id, f"it said {type(other).__name__}")

    def _at_fault(self, order: Order, name: str, words: str) -> Built:
        """Ours, and tried again; unless the request's own limits leave no room to begin."""
        report = decide.too_low(order.limits)
        if report is None:
            raise BoxGone(name, words)
        return Built(report)

    async def _keep(
        self, order: Order, done: DependenciesDone, box: Box, since: int, seconds: float
    ) -> Record:
        """Take over what the job built. Raises NarRefused, BuilderError, OSError."""
        assert done.environment is not None  # noqa: S101 - looked at before
        found = self._checked(order, done.environment)
        wrote = [f"{nix.STORE}/{name}" for name in done.written]
        names = [path for path in wrote if nix.is_store_path(path)]
        await self._provider.settled(found.closure)
        valid = await asyncio.to_thread(
            nixstore.valid_since, self._database, [*found.closure, *names]
        )
        environments = [path for path in valid if nix.is_environment(path.split("/")[3])]
        if environments:  # no job knows one: that is another's
            raise AttackedStore(order.environment_id, environments)
        _look_for_attack(order.environment_id, names, valid, since)
        trusted = sorted(set(found.closure) & valid.keys())
        own = sorted(path.split("/")[3] for path in set(found.closure) - valid.keys())
        if removed := [name for name in own if name not in done.written]:
            raise StaleStore(order.environment_id, removed)
        path, _ = await add_environment(
            scratch=self._with.places.scratch,
            id_=order.environment_id,
            names=own,
            references=trusted,
            pieces=box.exported(tuple(own)),
            max_bytes=order.limits.disk_bytes + _NAR_SLACK_BYTES,
        )
        paths = await asyncio.to_thread(nixstore.described, self._database, [path, *trusted])
        return Record(
            id=order.environment_id,
            path=path,
            closure=tuple(sorted(found.closure)),
            profile=found.profile.decode(errors="replace"),
            built_at=now().isoformat(),
            build_seconds=round(seconds, 3),
            size_bytes=sum(one.size_bytes for one in paths),
            paths=STORE_PATHS.dump_json(paths).decode(),
            held=(path, *trusted),
        )

    def _checked(self, order: Order, said: Environment) -> Environment:
        """What the container says of the environment, held to what its init promises."""
        if not all(nix.is_store_path(path) for path in said.closure):
            raise BoxGone(order.environment_id, "its init named what is no store path")
        try:
            nix_answer.checked(nix_answer.Answer(said.closure[0], said.closure, said.profile))
        except (nix_answer.BadAnswerError, IndexError) as error:
            raise BoxGone(order.environment_id, f"its init broke its word: {error!r}") from error
        return said


def _within(order: Order, done: DependenciesDone) -> DependenciesDone:
    """What the container said at its end, if its words keep to the limits. Raises BoxGone."""
    report, limits = done.report, order.limits
    words = (len(report.stdout), len(report.stderr))
    if words[0] > limits.stdout_bytes or words[1] > limits.stderr_bytes + _WORDS_BYTES:
        raise BoxGone(order.environment_id, f"its init told more than the limits allow: {words}")
    return done


def _look_for_attack(
    environment_id: str, wrote: list[str], valid: Mapping[str, int], since: int
) -> None:
    """A job that changed a path which was trusted before it began has left Nix's sandbox.

    Raises AttackedStore, StaleStore.
    """
    changed = [path for path in wrote if path in valid]
    before = [path for path in changed if valid[path] < since]
    if before:
        raise AttackedStore(environment_id, before)
    if changed:
        raise StaleStore(environment_id, changed)


def _refused(report: Report, refused: NarRefused, limits: StageLimits) -> Report:
    """The result of a build whose outputs we do not take."""
    if refused.too_large:
        return decide.too_large(report, limits)
    return nix_answer.refused(report, f"what was built can't be kept: {refused}")
