"""What has been built: one JSON file for each environment, written when its GC root is there.

The files lie beside the store and belong to all of its builders. A file's time of change is when
its environment was last asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from streams import files

_LOGGER: Final = logging.getLogger(__name__)
_SUFFIX: Final = ".json"
#: Of the records that are remembered; some letters take four bytes.
_KNOWN_LETTERS: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """A built environment. `profile` is what `nix print-dev-env --json` printed, UTF-8.

    `path` is the environment's own store path; its entries are those of `closure` that its build
    made, `held` is what it holds in the store (its path, and the trusted ones that it needs), and
    `paths` those with sizes and references, as JSON. `private_to` is the submission that it serves
    alone; None: all that ask for it.
    """

    id: str
    path: str
    closure: tuple[str, ...]
    profile: str
    built_at: str
    build_seconds: float
    size_bytes: int | None = None
    paths: str = ""
    held: tuple[str, ...] = ()
    private_to: str | None = None

    @property
    def key(self) -> str:
        """Under which it is kept: nobody looks for a private one's."""
        return self.id if self.private_to is None else f"{self.id}.{self.private_to}"


@dataclass(frozen=True, slots=True)
class Used:
    """An environment, when it was last asked for, and what it holds in the store."""

    id: str
    at: float
    closure: tuple[str, ...]


class Catalogue:
    """Finds a record without a process or a lock: a dict, and behind it a folder of files."""

    def __init__(
        self, folder: Path, roots: Path, built: Callable[[str], None] = lambda _path: None
    ) -> None:
        """`built` is told the path of each environment that is kept."""
        self._folder = folder
        self._roots = roots
        self._built = built
        self._known: OrderedDict[str, Record] = OrderedDict()
        self._letters = 0

    def find(self, id_: str) -> Record | None:
        """The environment, if it can be used now: another builder may have built it.

        It counts as used from here on. This comes before the look at the root, as `remove` looks
        at the use last: so what is found here is not removed.
        """
        try:
            os.utime(self._file(id_))
        except FileNotFoundError:
            self._forget(id_)
            return None
        record = self._known.get(id_) or self._read(id_)
        if record is None:
            return None
        self._remember(record)
        if not os.path.lexists(self._roots / id_) or not os.path.lexists(record.path):
            _LOGGER.warning("environment %s is gone from the store; building it again", id_)
            self._forget(id_)
            return None
        return record

    async def keep(self, record: Record) -> None:
        """Root first, then the file, whole or not at all: what is found is there to stay."""
        await asyncio.to_thread(self._write, record)  # it waits for the disk
        if record.private_to is None:
            self._remember(record)
            self._built(record.path)

    def used(self) -> Iterator[tuple[Record, float]]:
        """Every record, and when (seconds of the epoch) it was last asked for."""
        for file in self._folder.glob(f"*{_SUFFIX}"):
            try:
                at = file.stat().st_mtime
            except FileNotFoundError:
                continue
            record = self._known.get(file.stem) or self._read(file.stem)
            if record is not None:
                yield record, at

    def environments(self) -> Iterator[Used]:
        """The same for a collector."""
        for record, at in self.used():
            yield Used(record.key, at, record.held)

    def remove(self, id_: str, *, unused_since: float) -> bool:
        """Give an environment up, unless somebody asked for it after `unused_since`."""
        file = self._file(id_)
        aside = file.with_suffix(".old")
        try:
            file.replace(aside)  # from here on nobody finds it
        except FileNotFoundError:
            return False
        if aside.stat().st_mtime > unused_since:
            aside.replace(file)
            return False
        self._forget(id_)
        (self._roots / id_).unlink(missing_ok=True)
        aside.unlink()
        return True

    def settle(self) -> None:
        """Finish what was killed in the middle: a root that no record names would keep its closure.

        While nobody has a job in this store; else it may be the root of one that is being kept.
        """
        for file in self._folder.glob("*"):
            if file.suffix != _SUFFIX:
                file.unlink()
        for root in self._roots.glob("*"):  # links that were not yet in their place as well
            if not self._file(root.name).exists():
                _LOGGER.warning("root %s has no record; removing it", root.name)
                root.unlink()

    def _write(self, record: Record) -> None:
        self._roots.mkdir(parents=True, exist_ok=True)
        _replace_link(record.path, self._roots / record.key)
        self._folder.mkdir(parents=True, exist_ok=True)
        files.replace(self._file(record.key), orjson.dumps(asdict(record)))

    def _read(self, id_: str) -> Record | None:
        try:
            data = orjson.loads(self._file(id_).read_bytes())
            record = Record(**data | {name: tuple(data[name]) for name in ("closure", "held")})
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, TypeError, KeyError) as error:
            _LOGGER.warning("record of environment %s: %r; building it again", id_, error)
            return None
        # a path may be a link that leads nowhere, and is there all the same
        return record if all(os.path.lexists(path) for path in record.held) else None

    def _remember(self, record: Record) -> None:
        """The last of all that were asked for, in as many letters."""
        self._forget(record.id)
        self._known[record.id] = record
        self._letters += _letters(record)
        while self._letters > _KNOWN_LETTERS and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, id_: str) -> None:
        record = self._known.pop(id_, None)
        if record is not None:
            self._letters -= _letters(record)

    def _file(self, id_: str) -> Path:
        return self._folder / f"{id_}{_SUFFIX}"


def _letters(record: Record) -> int:
    return len(record.profile) + len(record.paths) + sum(map(len, record.closure + record.held))


def _replace_link(points_to: str, at: Path) -> None:
    """Point to it, in one step; two builders may do so at the same time."""
    fresh = at.with_name(f".{at.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(points_to)
    fresh.replace(at)
