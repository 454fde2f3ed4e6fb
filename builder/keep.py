"""How an environment's own paths enter the store: as one path, made by the trusted side alone.

`/nix/store/<hash>-environment-<id>` holds them as its entries. Its name is computed from the
content and the references, as Nix names a source. So nobody can bring other content under the
name of another's environment, whatever a job says.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from builder import nixstore
from builder.errors import StoreFailed
from builder.nar import Nar, NarChecker
from init import nar, nix

_ALPHABET: Final = "0123456789abcdfghijklmnpqrsvwxyz"
_HASH_BYTES: Final = 20
#: What `nix-store --import` reads before each path, and after its NAR.
_ONE_MORE: Final = nar.number(1)
_NO_MORE: Final = nar.number(0)
_INFO: Final = nar.number(0x4558494E)
#: So much is checked before others have their turn: a few milliseconds.
_AT_ONCE: Final = 1 << 16
#: The largest environments have gigabytes, and Nix writes and hashes each byte.
_IMPORT_SECONDS: Final = 600.0


def environment_path(id_: str, nar_sha256: bytes, references: Sequence[str]) -> str:
    """The store path of an environment's own paths. Raises ValueError for a bad id or reference."""
    for reference in references:
        if not nix.is_store_path(reference):
            raise ValueError(f"not a store path: {reference!r}")
    name = f"environment-{id_}"
    kind = ":".join(["source", *sorted(set(references))])
    digest = hashlib.sha256(f"{kind}:sha256:{nar_sha256.hex()}:{nix.STORE}:{name}".encode())
    path = f"{nix.STORE}/{_base32(_folded(digest.digest()))}-{name}"
    if not nix.is_store_path(path):
        raise ValueError(f"not an environment's id: {id_!r}")
    return path


async def add_environment(
    *,
    scratch: Path,
    id_: str,
    names: Iterable[str],
    references: Sequence[str],
    pieces: AsyncIterator[bytes],
    max_bytes: int,
) -> tuple[str, Nar]:
    """Check the NAR of an environment's own paths and add it to the store; its path.

    The references are valid paths of the store. The new path has no root yet. Raises NarRefused
    for what a job must not send, StoreFailed and OSError for a fault of ours; nothing is left in
    `scratch` in any case.
    """
    with tempfile.TemporaryFile(dir=scratch, buffering=0) as spool:  # it never has a name
        checker = NarChecker(names, max_bytes=max_bytes)
        _write(spool, _ONE_MORE)
        async for piece in pieces:
            for start in range(0, len(piece), _AT_ONCE):
                part = piece[start : start + _AT_ONCE]
                checker.feed(part)
                _write(spool, part)
                await asyncio.sleep(0)
        checked = checker.end()
        path = environment_path(id_, checked.sha256, references)
        _write(spool, _description(path, references))
        spool.seek(0, os.SEEK_SET)
        argv = nixstore.import_argv()
        printed = await nixstore.run(argv, seconds=_IMPORT_SECONDS, stdin=spool)
    if printed.strip() != path:
        raise StoreFailed(argv, 0, f"printed {printed!r} instead of {path}")
    return path, checked


def _description(path: str, references: Sequence[str]) -> bytes:
    """What follows the NAR: the path, its references, no deriver, no signature, no other path."""
    paths = sorted(set(references))
    return b"".join(
        (
            _INFO,
            nar.word(path.encode()),
            nar.number(len(paths)),
            *(nar.word(reference.encode()) for reference in paths),
            nar.word(b""),
            nar.number(0),
            _NO_MORE,
        )
    )


def _write(spool: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[spool.write(view) :]


def _folded(digest: bytes) -> bytes:
    """Nix's shorter form of a digest: what is too long is folded over the beginning by xor."""
    short = bytearray(_HASH_BYTES)
    for index, value in enumerate(digest):
        short[index % _HASH_BYTES] ^= value
    return bytes(short)


def _base32(digest: bytes) -> str:
    """Nix's own base 32: the last bits come first."""
    value = int.from_bytes(digest, "little")
    count = (len(digest) * 8 + 4) // 5
    return "".join(_ALPHABET[value >> 5 * index & 31] for index in reversed(range(count)))
