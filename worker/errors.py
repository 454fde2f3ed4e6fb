"""What can go wrong in a worker. Each says whose fault it is by what becomes of it.

WorkerError
├── EngineSilent      no Docker engine answers; at the start an operator's business
├── ContainerFailed   a container could not be had: the pool tries again, no submission is touched
├── LeftBehind        a container could not be removed: its uid stays taken until a restart
├── AttemptFailed     this attempt is lost through our fault: the next one, or `failed`
├── TakenOver         another attempt of the same submission has begun: leave it alone
├── NoUids            the range of uids is used up: an operator's business
└── NameTaken         a living process bears this name: an operator's business
"""

from __future__ import annotations

import re
from typing import Final

_ENGINES_ID: Final = re.compile(r"docker[-/][0-9a-f]{64}")


class WorkerError(Exception):
    """Any trouble of ours."""


class EngineSilent(WorkerError):
    """The Docker engine does not answer."""

    def __init__(self, socket: str, cause: str) -> None:
        super().__init__(f"no Docker engine answers at {socket}: {cause}")
        self.socket = socket
        self.cause = cause


class ContainerFailed(WorkerError):
    """No ready container came of it; `words` are the engine's or init's own."""

    def __init__(self, name: str, what: str, words: str = "") -> None:
        super().__init__(f"container {name}: {what}" + (f": {words}" if words else ""))
        self.name = name
        self.what = what
        self.words = words


class LeftBehind(WorkerError):
    """A container that may still live; the next start of this worker removes it."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"container {name} could not be removed: {cause}")
        self.name = name
        self.cause = cause


class AttemptFailed(WorkerError):
    """The sandbox failed the submission; `reason` goes into the log, which clients read.

    The engine's id of a container, which paths of cgroups hold, is left out of it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = _ENGINES_ID.sub("docker…", reason)
        super().__init__(self.reason)


class TakenOver(WorkerError):
    """The log shows a later attempt than ours, or an end that is not ours."""

    def __init__(self, submission_id: str) -> None:
        super().__init__(f"{submission_id}: another attempt has begun")
        self.submission_id = submission_id


class NoUids(WorkerError):
    """No uid, or no slice of them, is free."""


class NameTaken(WorkerError):
    """Two of one name would clean up each other's containers."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"one of this name lives in {folder}; set SANDSTREAM_WORKER_NAME")
        self.folder = folder
