"""What the server's error codes say of a message that it has refused."""

from __future__ import annotations

from typing import Final

#: 10071: the subject has moved on. 10164: on replicas, something of it is in flight.
CONFLICTS: Final = frozenset({10071, 10164})
#: Maximum messages, bytes or storage resources exceeded.
FULL: Final = frozenset({10023, 10077, 10047})
