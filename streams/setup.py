"""What an administrator makes once: the stream, the queues, the buckets. Safe to run again."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import (
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BadRequestError, BucketNotFoundError, NotFoundError
from nats.js.errors import Error as JetStreamError
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams import archived, chunks, events, readmodel
from streams.errors import LogUnavailable
from streams.queues import QUEUES

_LOGGER: Final = logging.getLogger(__name__)
#: Of the disk, for the log, and as much for large bodies. The read model needs a part of the rest.
_SHARE: Final = 0.2
#: The servers of a cluster that was just started choose a leader first.
_PATIENCE_SECONDS: Final = 30.0
#: No suitable peers for placement, temporarily unavailable: its servers are still finding another.
_FORMING: Final = frozenset({10005, 10008})


class LogSettings(BaseSettings):
    """How the log is kept."""

    model_config = SettingsConfigDict(env_prefix="SANDSTREAM_", extra="ignore")

    replicas: int = Field(default=1, ge=1, le=5, description="Copies of every stream: 1, 3 or 5.")
    lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="After this silence a builder's or worker's job is another's.",
    )
    log_max_bytes: int = Field(
        default=0,
        ge=-1,
        description="The log refuses new submissions at 90 % of this size; 0: 20 % of the disk,"
        " -1: as large as the disk.",
    )
    blobs_max_bytes: int = Field(
        default=0,
        ge=-1,
        description="The same for the store of large bodies, which has a bound of its own.",
    )
    keep_days: int = Field(
        default=0,
        ge=0,
        description="Days before `.venv/bin/python -m streams archive` may take events out;"
        " 0: never.",
    )

    @field_validator("replicas")
    @classmethod
    def _odd(cls, given: int) -> int:
        if given % 2 == 0:
            raise ValueError("1, 3 or 5: one more copy than an odd number bears no more losses")
        return given

    def bounded(self, folder: Path | None) -> LogSettings:
        """With a size in place of 0: see `share_of_disk`."""
        share = share_of_disk(folder)
        return self.model_copy(
            update={
                "log_max_bytes": self.log_max_bytes or share,
                "blobs_max_bytes": self.blobs_max_bytes or share,
            }
        )


def share_of_disk(folder: Path | None) -> int:
    """20 % of the disk; less where others have filled it: 40 % of what they leave to the server.

    `folder` holds the server's files. None: they are elsewhere, and our own disk stands for theirs.
    """
    usage = shutil.disk_usage(folder or Path.cwd())
    ours = 0 if folder is None else _stored(folder)
    return int(min(_SHARE * usage.total, 2 * _SHARE * (usage.free + ours)))


def _stored(folder: Path) -> int:
    stored = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # the server is at work
            stored += file.stat().st_size
    return stored


def stream_config(settings: LogSettings) -> StreamConfig:
    """Limits retention, nothing is ever discarded, deleted or purged by a client.

    A log that is kept for ever can't be purged by an admin either, and no update can take that
    back; one that is made with `keep_days` can be, by an admin, from its beginning.
    `allow_atomic` makes `submitted` and `deps-queued` visible together; `allow_direct` serves
    reads without a consumer; `republish` is what live readers hear.
    """
    return StreamConfig(
        name=events.STREAM,
        description="every transition of every submission",
        subjects=[f"{root}.>" for root in events.ROOTS],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        num_replicas=settings.replicas,
        max_bytes=settings.log_max_bytes or -1,
        duplicate_window=120,
        deny_delete=True,
        deny_purge=settings.keep_days == 0,
        allow_direct=True,
        allow_atomic=True,
        republish=RePublish(src=">", dest=f"{events.LIVE}.>"),
    )


async def setup(client: Client, settings: LogSettings, folder: Path | None = None) -> None:
    """Make what is missing and bring the settings of what is there up to date.

    `folder` holds the server's files; None: they are on another host. Raises LogUnavailable when
    nobody answers.
    """
    bounded = settings.bounded(folder)

    async def make() -> None:
        await answering(client)
        await _make(client.jetstream(timeout=30), bounded)

    await once_formed(make)


async def once_formed(make: Callable[[], Awaitable[object]]) -> None:
    """Make something that needs all servers of a cluster, again while they still find another."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            await make()
        except APIError as error:
            if error.err_code not in _FORMING or loop.time() > deadline:
                raise
            _LOGGER.info("the cluster is not complete yet: %s", error)
            await asyncio.sleep(0.5)
        else:
            return


async def _make(js: JetStreamContext, settings: LogSettings) -> None:
    config = stream_config(settings)
    replicas = settings.replicas
    try:
        found = (await js.stream_info(events.STREAM)).config
    except NotFoundError:
        await js.add_stream(config)
        _LOGGER.info("made stream %s", events.STREAM)
    else:
        if "replicas" not in settings.model_fields_set and found.num_replicas:
            replicas = found.num_replicas  # nobody said that there shall be fewer
        # Where it began, what was noted on it and whether it is kept for ever are its own.
        config = replace(
            config,
            num_replicas=replicas,
            first_seq=found.first_seq,
            metadata=found.metadata,
            deny_purge=found.deny_purge,
        )
        await js.update_stream(config)
    for queue in QUEUES:
        await _consumer(js, queue.name, queue.config(settings.lease_seconds))
    for name in (archived.BUCKET, *readmodel.BUCKETS):
        await _bucket(js, name, replicas)
    await _object_store(js, replicas)
    for name in (archived.BUCKET, *readmodel.BUCKETS):
        await _updated(js, f"KV_{name}", num_replicas=replicas)
    await _updated(js, chunks.STREAM, num_replicas=replicas, max_bytes=settings.blobs_max_bytes)


async def _consumer(js: JetStreamContext, name: str, config: ConsumerConfig) -> None:
    """With a durable name this creates, or updates what is there. Where it began stays."""
    try:
        found = (await js.consumer_info(events.STREAM, name)).config
    except NotFoundError:
        pass
    else:
        config = replace(
            config, deliver_policy=found.deliver_policy, opt_start_seq=found.opt_start_seq
        )
    await js.add_consumer(events.STREAM, config)


async def answering(client: Client) -> None:
    """Wait until JetStream serves. Raises LogUnavailable."""
    js = client.jetstream(timeout=1)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            await js.account_info()
        except (NatsError, JetStreamError) as error:
            if loop.time() > deadline:
                raise LogUnavailable("wait for JetStream", repr(error)) from error
            await asyncio.sleep(0.1)
        else:
            return


async def _bucket(js: JetStreamContext, name: str, replicas: int) -> None:
    try:
        await js.key_value(name)
    except BucketNotFoundError:
        config = KeyValueConfig(bucket=name, history=1, replicas=replicas, direct=True)
        await js.create_key_value(config)


async def _object_store(js: JetStreamContext, replicas: int) -> None:
    try:
        await js.object_store(chunks.BUCKET)
    except (BucketNotFoundError, NotFoundError):
        try:
            await js.create_object_store(
                chunks.BUCKET, ObjectStoreConfig(bucket=chunks.BUCKET, replicas=replicas)
            )
        except BadRequestError as error:  # another set-up was first
            _LOGGER.info("object store %s: %s", chunks.BUCKET, error)


async def _updated(js: JetStreamContext, stream: str, **wanted: Any) -> None:
    """Its settings as they are wanted now. What is there stays, also above a lower `max_bytes`."""
    config = (await js.stream_info(stream)).config
    if any(getattr(config, name) != value for name, value in wanted.items()):
        await js.update_stream(replace(config, **wanted))
