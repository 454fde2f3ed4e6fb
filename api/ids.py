"""Submission ids: 26 lower-case letters and digits, one word of a subject."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import Final

#: Crockford's base 32: no i, l, o, u.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 26
_TIME_LENGTH: Final = 10
_RANDOM_BITS: Final = 80
_WELL_FORMED: Final = re.compile(r"[0-9a-z]{1,64}")


def new_id(now_ms: int | None = None) -> str:
    """Milliseconds, then 80 random bits: later ids sort later."""
    at = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = secrets.randbits(_RANDOM_BITS)
    return _base32(at, _TIME_LENGTH) + _base32(random, _LENGTH - _TIME_LENGTH)


def id_of_key(key: str, caller: str | None = None) -> str:
    """The one id that an Idempotency-Key can have, so that the log's own guard makes it unique.

    Each caller (the name of an API key) has keys of its own: neither has a NUL. The leading `k`
    keeps it apart from ids by time, which begin with `0` until the year 3084.
    """
    if caller is None:
        return _id_of("k", f"idempotency-key\0{key}")
    return _id_of("k", f"idempotency-key-of\0{caller}\0{key}")


def id_of_retry(submission_id: str) -> str:
    """The one id of a failed submission's retry. No Idempotency-Key has one that begins so."""
    return _id_of("r", f"retry-of\0{submission_id}")


def well_formed(submission_id: str) -> bool:
    """Whether it can be an id at all; anything else would be another subject."""
    return _WELL_FORMED.fullmatch(submission_id) is not None


def _id_of(letter: str, what: str) -> str:
    digest = int.from_bytes(hashlib.sha256(what.encode()).digest())
    return letter + _base32(digest, _LENGTH - 1)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(length)))
