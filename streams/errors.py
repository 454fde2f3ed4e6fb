"""What can go wrong between a service and the log. Errors carry fields; whoever catches words them.

StreamsError
├── Conflict      another event of the same submission came first: read again, decide again
├── LogUnavailable  no answer from the server in time: safe to repeat with the same message id
├── LogFull       a stream is at its limit: refuse new work until an operator makes room
├── EntryTooLarge   more than one message of the server holds: no repetition helps
├── BlobMissing   an event names a blob that the object store does not hold
├── CopyRefused   the log can't be copied there under the same sequences
├── ArchiveRefused  nothing may leave the log now, or not by this command
├── ArchiveDamaged  a file of the archive is not what it was
└── Undecodable   a message in the log is no event: never written by us, or damaged
"""

from __future__ import annotations

from pathlib import Path


class StreamsError(Exception):
    """Any trouble between us and the log."""


class Conflict(StreamsError):
    """The guard refused an event because another one of its submission came first."""

    def __init__(self, submission_id: str, expected: int) -> None:
        super().__init__(f"submission {submission_id} has moved on from sequence {expected}")
        self.submission_id = submission_id
        self.expected = expected


class LogUnavailable(StreamsError):
    """The event log did not answer; what was asked may or may not have happened."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(f"{what}: {cause}; is the NATS server up, has this user the right?")
        self.what = what
        self.cause = cause


class LogFull(StreamsError):
    """The log refuses new events, or the object store new blobs, because it is at its limit."""

    def __init__(self, cause: str, stream: str) -> None:
        super().__init__(f"stream {stream} is full: {cause}")
        self.cause = cause
        self.stream = stream


class EntryTooLarge(StreamsError):
    """What was to be written is more than a message may hold."""

    def __init__(self, what: str, size: int, most: int) -> None:
        super().__init__(
            f"{what}: {size} bytes, and a message of this NATS server holds at most {most}: "
            "raise its max_payload"
        )
        self.what = what
        self.size = size
        self.most = most


class BlobMissing(StreamsError):
    """An event names a blob that is not there."""

    def __init__(self, sha256: str, cause: str) -> None:
        super().__init__(f"blob {sha256}: {cause}")
        self.sha256 = sha256
        self.cause = cause


class CopyRefused(StreamsError):
    """A copy with the same sequences is not possible, or not to that place."""


class ArchiveRefused(StreamsError):
    """Nothing may leave the log; the message says why and what to do."""


class ArchiveDamaged(StreamsError):
    """A file of the archive can't be read, or was changed."""

    def __init__(self, file: Path, cause: str) -> None:
        super().__init__(f"{file}: {cause}")
        self.file = file
        self.cause = cause


class Undecodable(StreamsError):
    """A message of the stream is no event."""

    def __init__(self, sequence: int, cause: str) -> None:
        super().__init__(f"message {sequence}: {cause}")
        self.sequence = sequence
        self.cause = cause
