"""`python -m worker`: runs submissions until SIGTERM or SIGINT. The only composition root."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
from contextlib import AsyncExitStack, suppress
from typing import Final

from egress.settings import NetworkSettings
from streams.connection import NatsSettings, connect
from streams.descriptors import raise_limit
from streams.log import EventLog
from streams.memory import Ledger, MemorySettings
from streams.settings import read
from worker.carrier import Carrier
from worker.engine import engine
from worker.errors import WorkerError
from worker.leftovers import kept_clean
from worker.locks import alone
from worker.pool import Pool
from worker.service import Service
from worker.settings import WorkerSettings
from worker.spec import Plan
from worker.store import STORE, HostStore, Reach, reach
from worker.uids import Uids, claim

_LOGGER: Final = logging.getLogger("worker")


async def run(
    settings: WorkerSettings, nats: NatsSettings, reached: Reach, memory: MemorySettings
) -> None:
    """Live until SIGTERM or SIGINT, also when these come before there is anything to serve."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    living = asyncio.create_task(live(settings, nats, reached, memory))
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait((living, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    living.cancel()
    with suppress(asyncio.CancelledError):
        await living


async def live(
    settings: WorkerSettings, nats: NatsSettings, reached: Reach, memory: MemorySettings
) -> None:
    """Clean up after an earlier life, warm the pool, serve; cancelled, leave nothing behind."""
    uids = Uids(
        claim(
            settings.state.absolute() / "worker" / ".uids" / str(settings.uid_first),
            settings.worker_name,
            first=settings.uid_first,
            slices=settings.uid_slices,
            size=settings.uid_slice_size,
        )
    )
    planned = plan(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone(settings.folder))
        host = await stack.enter_async_context(engine(settings.docker_socket, planned))
        await stack.enter_async_context(kept_clean(host))
        client = await stack.enter_async_context(connect(nats, name=settings.by))
        store = HostStore(
            settings.state.absolute(),
            settings.storekeeper,
            settings.fetch_seconds,
            reached,
        )
        store.make()
        ledger = Ledger(settings.state.absolute() / STORE, memory.memory_budget_bytes)
        ledger.make()
        pool = await stack.enter_async_context(
            Pool(
                lambda: host.container(uids),
                size=settings.worker_pool,
                starts=settings.worker_starts,
            )
        )
        log = EventLog(client, timeout=nats.jetstream_timeout_seconds)
        carrier = Carrier(
            client,
            log,
            pool,
            by=settings.by,
            store=store,
            memory=ledger,
            room=planned.room,
            attempts=settings.attempts,
            grace_seconds=settings.stage_grace_seconds,
            compare_cpu_seconds=settings.compare_cpu_seconds,
        )
        service = Service(
            client,
            log,
            pool,
            carrier,
            by=settings.by,
            slots=settings.worker_slots,
            build_deadline_seconds=settings.build_deadline_seconds,
        )
        _LOGGER.info(
            "%s: %d slots, %d warm containers of %s",
            settings.by, settings.worker_slots, settings.worker_pool, settings.runner_image,
        )  # fmt: skip
        try:
            await service.serve()
        finally:
            await service.drain(settings.worker_drain_seconds)
            _LOGGER.info("%s: stopping", settings.by)


def plan(settings: WorkerSettings) -> Plan:
    """What all containers of this life have in common."""
    return Plan(
        worker=settings.worker_name,
        instance=secrets.token_hex(4),
        image=settings.runner_image,
        state=settings.state.absolute(),
        scratch=settings.folder / "scratch",
        cgroups=settings.cgroups,
        memory_bytes=settings.container_memory_bytes,
        processes=settings.container_processes,
        cpus=settings.container_cpus,
        ready_seconds=settings.container_ready_seconds,
        cases_at_once=settings.cases_at_once,
    )


def main() -> None:
    settings = read(WorkerSettings)
    reached = reach(read(NetworkSettings))
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    raise_limit()
    try:
        asyncio.run(run(settings, read(NatsSettings), reached, read(MemorySettings)))
    except WorkerError as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
