"""Who may say what on the NATS server: one user for each service, each with what it needs.

The right to change, purge or delete a stream is `admin`'s alone: `deny_delete` and, in a log that
is kept for ever, `deny_purge` bind even an admin, but who may delete a stream needs neither, so no
running service has it. A service whose host is taken over can speak only its own events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from streams import archived, events, readmodel
from streams.chunks import BUCKET, STREAM
from streams.connection import inbox_prefix
from streams.queues import BUILDERS, CANCELS, FALLBACK, WARMING, WORKERS, Queue

ADMIN: Final = "admin"
#: As whom the servers of a cluster speak to each other. No client can be it.
ROUTE: Final = "route"


@dataclass(frozen=True, slots=True)
class User:
    """What a service publishes and hears; its own inbox is understood."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()


def _said(*kinds: str, root: str = events.ROOT) -> tuple[str, ...]:
    return tuple(f"{root}.*.{kind}" for kind in kinds)


_INFO = tuple(
    f"$JS.API.STREAM.INFO.{stream}"
    for stream in (
        events.STREAM,
        f"KV_{archived.BUCKET}",
        f"KV_{readmodel.POINTER_BUCKET}",
        *(f"KV_{readmodel.bucket(generation)}" for generation in readmodel.GENERATIONS),
    )
)
_READ_LOG = (
    "$JS.API.INFO",
    *_INFO,
    f"$JS.API.DIRECT.GET.{events.STREAM}",
    f"$JS.API.STREAM.MSG.GET.{events.STREAM}",
)
#: A blob's description from the stream's leader, its chunks from any replica: no consumer of them.
_READ_BLOBS = (f"$JS.API.STREAM.MSG.GET.{STREAM}", f"$JS.API.DIRECT.GET.{STREAM}")
#: The object store's chunks (C) and descriptions (M); the latter roll up what they replace.
_WRITE_BLOBS = (f"$O.{BUCKET}.C.*", f"$O.{BUCKET}.M.*")
_READ_MODEL = tuple(
    f"$JS.API.{call}.KV_{name}{tail}"
    for name in (archived.BUCKET, *readmodel.BUCKETS)
    for call, tail in (("DIRECT.GET", ".>"), ("STREAM.MSG.GET", ""))
)
_LIVE = tuple(f"{events.LIVE}.{root}.>" for root in events.ROOTS)


def _takes(queue: Queue) -> tuple[str, ...]:
    where = f"{events.STREAM}.{queue.name}"
    return (
        f"$JS.API.CONSUMER.INFO.{where}",
        f"$JS.API.CONSUMER.MSG.NEXT.{where}",
        f"$JS.ACK.{where}.>",
    )


USERS: Final = (
    User(
        "api",
        publish=(
            *_said("submitted", "submitted.uncached", "deps-queued", "cancel-requested"),
            *_said("deps-queued", "cancel-requested", root=events.WARM),
            "cancel.*", *_READ_LOG, *_READ_BLOBS, *_WRITE_BLOBS, *_READ_MODEL,
            f"$JS.API.STREAM.INFO.{STREAM}",
        ),
        subscribe=_LIVE,
    ),
    User(
        "builder",
        publish=(
            *_said("deps-built"), *_said("deps-built", root=events.WARM),
            *_takes(BUILDERS), *_takes(WARMING), *_READ_LOG, *_READ_BLOBS, *_WRITE_BLOBS,
        ),
    ),
    User(
        "worker",
        publish=(
            *_said(
                "deps-built.in-container", "started", "compiled", "ran.*",
                "finished", "failed", "cancelled",
            ),
            *_takes(WORKERS), *_takes(FALLBACK), *_takes(CANCELS),
            "cancel.*", *_READ_LOG, *_READ_BLOBS, *_WRITE_BLOBS,
        ),
        subscribe=("cancel.*",),
    ),
    User(
        "projector",
        publish=(
            *_READ_LOG, *_READ_MODEL,
            f"$KV.{readmodel.POINTER_BUCKET}.>",
            *(f"$KV.{readmodel.bucket(g)}.>" for g in readmodel.GENERATIONS),
            *(f"$JS.API.STREAM.PURGE.KV_{readmodel.bucket(g)}" for g in readmodel.GENERATIONS),
        ),
        subscribe=_LIVE,
    ),
    User("auditor", publish=(*_READ_LOG, *_READ_BLOBS, *_READ_MODEL), subscribe=_LIVE),
)  # fmt: skip


def authorization(passwords: dict[str, str]) -> list[dict[str, Any]]:
    """The `users` of the server's configuration: `admin` and one for each service."""
    admin: dict[str, Any] = {"user": ADMIN, "password": passwords[ADMIN]}
    return [
        admin,
        *(
            {
                "user": user.name,
                "password": passwords[user.name],
                "permissions": {
                    "publish": {"allow": list(user.publish)},
                    "subscribe": {
                        "allow": [f"{inbox_prefix(user.name)}.>", *user.subscribe],
                    },
                    # Whoever is asked may answer: a cancel's sender waits at its own inbox.
                    "allow_responses": {"max": 1, "expires": "1m"},
                },
            }
            for user in USERS
        ),
    ]
