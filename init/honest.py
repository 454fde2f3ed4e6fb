"""What a frame says, held to its types: init may be an attacker's, and its words become events.

JSON as Python reads it has numbers that no other JSON has, and text that is no UTF-8. An event with
one of these can be read by nobody, and a log that is kept for ever never loses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from init.frames import Report

#: No figure of a report is as large: seconds, or bytes.
_TOO_MUCH: Final = 1 << 63


def hold(report: Report) -> None:
    """Raises ValueError, TypeError."""
    texts(text for text in (report.signal, report.message) if text is not None)
    texts((report.starved,))
    if not isinstance(report.exit_code, int | None):
        raise TypeError(f"an exit code {report.exit_code!r}")
    seconds = (
        report.wall_seconds,
        report.cpu_seconds,
        report.cpu_user_seconds,
        report.cpu_system_seconds,
    )
    counts = (report.memory_peak_bytes, report.stdout_total, report.stderr_total)
    for numbers, kinds in ((seconds, (int, float)), (counts, (int,))):
        for number in numbers:
            if not isinstance(number, kinds) or not 0 <= number < _TOO_MUCH:
                raise ValueError(f"a figure {number!r}")


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """These, which have to be text that can be written as UTF-8. Raises ValueError, TypeError."""
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
        value.encode()
    return found
