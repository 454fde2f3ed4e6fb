"""What the store's owner asks of Nix: a closure, signatures, a copy, a fetch, a collection."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Final

from builder.errors import StoreFailed
from init import nix
from streams.environments import StorePath

_STORE_SECONDS: Final = 60.0


def key_argv(name: str, secret: Path, public: Path) -> list[str]:
    """Make a signing key; whoever trusts `public` trusts what `secret` has signed."""
    return ["nix-store", "--generate-binary-cache-key", name, str(secret), str(public)]


def sign_argv(path: str, secret: Path) -> list[str]:
    """Sign a path and its closure in the store itself, so that any server of it serves that."""
    return ["nix", "--offline", "store", "sign", "--recursive", "--key-file", str(secret), path]


def publish_argv(path: str, to: str) -> list[str]:
    """Copy what is missing of a path's closure, references first, so that none ever dangles."""
    return ["nice", "-n", "10", "nix", "copy", "--to", to, path]  # builds go first


def realise_argv(paths: Iterable[str], *, keep_going: bool = True) -> list[str]:
    """Make these output paths valid. Without a derivation there is nothing that could be built."""
    argv = ["nix-store", "--realise"]
    return [*argv, *(["--keep-going"] if keep_going else []), *paths]


def import_argv() -> list[str]:
    """Take paths in the format of `nix-store --export` from stdin; prints them."""
    return ["nix-store", "--import"]


def collect_argv() -> list[str]:
    """Delete everything that no root needs."""
    return ["nix-store", "--gc", "--quiet"]


def delete_argv(paths: Iterable[str]) -> list[str]:
    """Delete these paths, unless a root needs them."""
    return ["nix-store", "--delete", *paths]


async def run(
    argv: list[str],
    *,
    seconds: float = _STORE_SECONDS,
    environment: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
) -> str:
    """What it prints. Raises StoreFailed; stopped as soon as nobody waits any more.

    It reads nothing, or `stdin`: a file, from its present position.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**nix.store_environment(), **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, words = await process.communicate()
    except TimeoutError as error:
        raise StoreFailed(argv, None, f"no end after {seconds:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise StoreFailed(argv, process.returncode, words.decode(errors="replace"))
    return out.decode()


def sizes_of(database: Path, since: float = 0.0) -> dict[str, int]:
    """Every path that became valid since then, and its bytes as a copy has them.

    Raises sqlite3.Error.
    """
    query = "select path, coalesce(narSize, 0) from ValidPaths where registrationTime >= ?"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(query, (int(since),)))


def described(database: Path, closure: Iterable[str]) -> tuple[StorePath, ...]:
    """The paths of a closure with sizes and references, sorted. Raises sqlite3.Error."""
    wanted = json.dumps(sorted(closure))
    sizes = (
        "select path, coalesce(narSize, 0) from ValidPaths "
        "where path in (select value from json_each(?)) order by path"
    )
    references = (
        "select one.path, other.path from Refs "
        "join ValidPaths one on referrer = one.id join ValidPaths other on reference = other.id "
        "where one.path in (select value from json_each(?)) order by other.path"
    )
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for path, other in connection.execute(references, (wanted,)):
            found.setdefault(path, []).append(other)
        return tuple(
            StorePath(path=path, size_bytes=size, references=tuple(found.get(path, ())))
            for path, size in connection.execute(sizes, (wanted,))
        )


def closure_in(database: Path, path: str) -> tuple[str, ...]:
    """The same out of the store's database, sorted; empty when the path is not valid.

    Raises sqlite3.Error.
    """
    query = (
        "with recursive needed(id) as (select id from ValidPaths where path = ? union "
        "select reference from Refs join needed on referrer = needed.id) "
        "select path from ValidPaths join needed using (id) order by path"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return tuple(path for (path,) in connection.execute(query, (path,)))


def outputs_of(database: Path, derivations: Iterable[str]) -> dict[str, list[tuple[str, bool]]]:
    """The outputs of derivations that are in the store, each with whether it is valid.

    Raises sqlite3.Error.
    """
    query = (
        "select drv.path, output.path, valid.id is not null from ValidPaths drv "
        "join DerivationOutputs output on output.drv = drv.id "
        "left join ValidPaths valid on valid.path = output.path "
        "where drv.path in (select value from json_each(?))"
    )
    found: dict[str, list[tuple[str, bool]]] = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for drv, path, valid in connection.execute(query, (json.dumps(list(derivations)),)):
            found.setdefault(drv, []).append((path, bool(valid)))
    return found


def registration(database: Path, paths: Iterable[str]) -> bytes:
    """Those of the paths that are valid, with all that they refer to, for `nix-store --load-db`.

    Its format is that of Nix's src/libstore/path-info.cc (`decodeValidPathInfo`): path, hash, size,
    deriver, number of references, references; a line each. Raises sqlite3.Error.
    """
    needed = (
        "with recursive needed(id) as (select id from ValidPaths where path in "
        "(select value from json_each(?1)) union "
        "select reference from Refs join needed on referrer = needed.id) "
    )
    infos = (
        f"{needed} select id, path, hash, coalesce(narSize, 0) "  # noqa: S608 - two constants
        "from ValidPaths join needed using (id)"
    )
    references = (
        f"{needed} select referrer, path from Refs join needed "  # noqa: S608 - two constants
        "on referrer = needed.id "
        "join ValidPaths on reference = ValidPaths.id order by path"
    )
    wanted = (json.dumps(list(paths)),)
    found: dict[int, list[str]] = {}
    lines: list[str] = []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.execute("begin")  # one state for both questions
        for referrer, path in connection.execute(references, wanted):
            found.setdefault(referrer, []).append(path)
        for id_, path, digest, size in connection.execute(infos, wanted):
            others = found.get(id_, [])
            hexadecimal = digest.removeprefix("sha256:")
            lines += [path, hexadecimal, str(size), "", str(len(others)), *others]
    return "".join(f"{line}\n" for line in lines).encode()


def valid_since(database: Path, paths: Iterable[str]) -> dict[str, int]:
    """Those of the paths that are valid, and when (epoch seconds) they became so.

    An environment is what a job made: it is nobody's trusted path. Raises sqlite3.Error.
    """
    query = (
        "select path, registrationTime from ValidPaths "
        "where path in (select value from json_each(?))"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(query, (json.dumps(list(paths)),)))
