"""The API key that a client sends, out of a file."""

from __future__ import annotations

from pathlib import Path

from sandstream.settings import StackSettings


class KeyFileError(Exception):
    """The file can't be read, or holds no key."""


def key_in(file: Path) -> str:
    """The first key of a file: the last word of its first line that says something.

    So a file with a key alone will do, and that of the server, with a line `name key` for each
    caller. Raises KeyFileError.
    """
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"the file of API keys can't be read: {error}") from error
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            return line.split()[-1]
    raise KeyFileError(f"{file} holds no API key")


def key_for(settings: StackSettings, *, ours: bool) -> str | None:
    """The key to send; None where no file is named. Raises KeyFileError.

    The server's own file says it for the server of this host (`ours`) and for no other: a key goes
    nowhere by itself.
    """
    file = settings.key_file or (settings.keys_file if ours else None)
    return None if file is None else key_in(file)
