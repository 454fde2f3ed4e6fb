"""`python -m builder`: settings, connect, serve until SIGTERM. Runs in the builder's container."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from builder import decide
from builder.builds import Builds
from builder.catalogue import Catalogue
from builder.collect import Collector, policy_of
from builder.delegated import delegated
from builder.jobs import Places
from builder.private import PrivateEnvironments
from builder.provide import Provider, Trusted
from builder.publish import Publisher, files_of
from builder.service import Service
from builder.settings import BuilderSettings, SharingSettings
from builder.shared import Shared
from builder.shells import Nix, Shells
from builder.trusted import recorded
from egress.settings import NetworkSettings
from init import nix
from streams.blobs import Blobs
from streams.connection import NatsSettings, connect
from streams.descriptors import raise_limit
from streams.log import EventLog
from streams.memory import Ledger, MemorySettings
from streams.queues import BUILDERS, WARMING, deliveries
from streams.settings import read

_LOGGER: Final = logging.getLogger("builder")


async def main() -> None:
    settings, sharing = read(BuilderSettings), read(SharingSettings)
    reached = read(NetworkSettings)
    places = Places(settings.builder_run, settings.builder_state, settings.builder_cgroups)
    groups = await asyncio.to_thread(delegated, settings.builder_run / "delegated")
    places.clear(set(groups.folders.values()))
    shared = Shared(settings.store)
    shared.make()
    publisher = Publisher(settings.builder_name, settings.builder_state, sharing.publish_to, shared)
    key = await publisher.prepare()
    _LOGGER.info("%s: signs as %s", settings.by, key)
    catalogue = Catalogue(shared.environments, shared.roots, built=publisher.soon)
    publisher.resume(record.path for record, _ in catalogue.used() if record.private_to is None)
    provider = Provider(
        Trusted(
            places,
            settings.store,
            groups,
            recorded(settings.store, settings.channel_revision),
            decide.operators(settings.builder_wall_seconds),
            config=nix.fetch_config(reached.substituters, reached.trusted_public_keys)
            if reached.fetches
            else "",
        )
    )
    made_with = Nix(places, settings.store, shared, settings.host_defaults)
    shells = Shells(made_with, provider, catalogue)
    besides = [
        publisher.serve(),
        *collecting(settings, sharing, shared, catalogue),
        PrivateEnvironments(shared, catalogue, sharing.environment_grace_seconds).serve(),
        *(aside.serve() for aside in (places.aside, shared.aside)),
    ]
    try:
        await serve(settings, shared, catalogue, shells, besides)
    finally:
        await provider.close()


async def serve(
    settings: BuilderSettings,
    shared: Shared,
    catalogue: Catalogue,
    shells: Shells,
    besides: list[Coroutine[Any, Any, None]],
) -> None:
    nats = read(NatsSettings)
    ledger = Ledger(settings.store, read(MemorySettings).memory_budget_bytes)
    ledger.make()
    builds = Builds(
        shells.build,
        jobs=settings.builder_jobs,
        wall_seconds=settings.builder_wall_seconds,
        memory=ledger.reserved,
        lease=shared.lease,
        building=shared.building,
        find=catalogue.find,
    )
    async with connect(nats, name=settings.by) as client:
        log = EventLog(client, timeout=nats.jetstream_timeout_seconds)
        service = Service(settings, log, Blobs(client), catalogue, builds)
        tasks = [
            asyncio.create_task(work)
            for work in (
                *(service.serve(deliveries(client, queue)) for queue in (BUILDERS, WARMING)),
                *besides,
            )
        ]
        serving = asyncio.gather(*tasks)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        _LOGGER.info(
            "%s: ready, %d builds at once, channel %s",
            settings.by,
            settings.builder_jobs,
            settings.channel_revision,
        )
        try:
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await builds.close()
    _LOGGER.info("%s: stopped", settings.by)


def collecting(
    settings: BuilderSettings, sharing: SharingSettings, shared: Shared, catalogue: Catalogue
) -> list[Coroutine[Any, Any, None]]:
    """The collector, where a limit is set."""
    policy = policy_of(sharing)
    if not policy.collects:
        return []
    cache = files_of(sharing.publish_to)
    collector = Collector(shared, catalogue, settings.store, cache, policy)
    return [collector.serve(sharing.collect_seconds)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    raise_limit()
    asyncio.run(main())
