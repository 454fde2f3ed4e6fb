"""Bytes that all connections together may hold: a budget, and what each takes of it. Pure."""

from __future__ import annotations

from typing import Final

#: Of each body and answer these count as nothing: the server buffers as much for any connection,
#: and so a few who send or read slowly, and much, do not keep out all others.
FREE_BYTES: Final = 64 * 1024


class Room:
    """For `most` bytes, and for one share always, however large it is."""

    def __init__(self, most: int) -> None:
        self.most = most
        #: Bytes that are held now.
        self.held = 0

    def has(self, more: int) -> bool:
        return more <= max(self.most - self.held, 0) or not self.held


class Share:
    """What one body or answer takes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def may_reach(self, size: int) -> bool:
        """Whether there is room for `size` bytes in all."""
        return self._room.has(self._more(size))

    def reach(self, size: int) -> None:
        """It holds `size` bytes now, if that is more than before."""
        more = self._more(size)
        self._taken += more
        self._room.held += more

    def give_back(self) -> None:
        self._room.held -= self._taken
        self._taken = 0

    def _more(self, size: int) -> int:
        return max(size - FREE_BYTES - self._taken, 0)
