"""Bytes in an event: UTF-8 as text, anything else as base64, large ones by digest only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Up to here bytes stand in the event itself; larger ones go to the object store by their digest.
INLINE_BYTES: Final = 64 * 1024
#: All inline bytes of one event together: `max_payload` is 8 MiB, and base64 adds a third.
INLINE_TOTAL_BYTES: Final = 1024 * 1024

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """A record: immutable. Fields of a newer version are passed over, so that both can run."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64")


class Content(Frozen):
    """`size` bytes: here as `data` in `encoding`, or (`data` null) in the blob store."""

    encoding: Literal["utf8", "base64"] = "utf8"
    data: str | None = ""
    size: int = 0
    sha256: Sha256 | None = None

    def inline(self) -> bytes | None:
        """The bytes, or None when they are in the blob store."""
        if self.data is None:
            return None
        return self.data.encode() if self.encoding == "utf8" else base64.b64decode(self.data)


EMPTY: Final = Content()


def text_or_base64(data: bytes) -> tuple[str, Literal["utf8", "base64"]]:
    """UTF-8 as it is, anything else as base64; the second item says which."""
    try:
        return data.decode(), "utf8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def texts_or_base64(
    items: Sequence[bytes],
) -> tuple[tuple[str, ...], Literal["utf8", "base64"]]:
    """The same for several together: base64 for all when one of them is not UTF-8."""
    try:
        return tuple(item.decode() for item in items), "utf8"
    except UnicodeDecodeError:
        return tuple(base64.b64encode(item).decode("ascii") for item in items), "base64"


def inline(data: bytes) -> Content:
    """The bytes as a value that stands in the event."""
    text, encoding = text_or_base64(data)
    return Content(encoding=encoding, data=text, size=len(data))


def by_digest(data: bytes) -> Content:
    """A reference to the bytes, which the caller puts into the blob store first."""
    _, encoding = text_or_base64(data)
    digest = hashlib.sha256(data).hexdigest()
    return Content(encoding=encoding, data=None, size=len(data), sha256=digest)


class Packer:
    """Decides for the contents of one event which stand in it, and collects the others.

    Pure: `blobs` (by digest) is what must be stored *before* the event is published.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._inline = 0

    def pack(self, data: bytes) -> Content:
        if len(data) <= INLINE_BYTES and self._inline + len(data) <= INLINE_TOTAL_BYTES:
            self._inline += len(data)
            return inline(data)
        return self.aside(data)

    def aside(self, data: bytes) -> Content:
        """Never in the event itself, however small."""
        content = by_digest(data)
        assert content.sha256 is not None  # noqa: S101 - by_digest always sets it
        self.blobs[content.sha256] = data
        return content
