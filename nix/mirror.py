"""The machine's own Debian mirror: no host is named in this repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

APT = Path("/etc/apt")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)")


class NoMirrorError(Exception):
    """The apt configuration of this machine names no Debian archive, or there is no keyring."""


@dataclass(frozen=True)
class Source:
    """One archive and suite of an apt configuration."""

    uri: str
    suite: str


def parse_one_line(text: str) -> list[Source]:
    """Sources of a `sources.list`."""
    found = (ONE_LINE.match(line.strip()) for line in text.splitlines())
    return [Source(m["uri"].rstrip("/"), m["suite"]) for m in found if m]


def parse_deb822(text: str) -> list[Source]:
    """Sources of a `*.sources` file: stanzas of fields, values may continue on indented lines."""
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] not in " \t":
                name, _, line = line.partition(":")  # noqa: PLW2901 - the rest of the line
            fields.setdefault(name.strip().lower(), []).extend(line.split())
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            pairs = [(u, s) for u in fields.get("uris", []) for s in fields.get("suites", [])]
            sources += [Source(uri.rstrip("/"), suite) for uri, suite in pairs]
    return sources


def choose(sources: list[Source]) -> str:
    """Give the first archive that is Debian's main one (its path ends in /debian)."""
    for source in sources:
        if source.uri.startswith(("http://", "https://")) and source.uri.endswith("/debian"):
            return source.uri
    raise NoMirrorError("no Debian archive in the apt configuration of this machine")


def archive(apt: Path = APT) -> str:
    """Read the URI of this machine's Debian archive."""
    sources: list[Source] = []
    one_line = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
    for path in filter(Path.is_file, one_line):
        sources += parse_one_line(path.read_text())
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        sources += parse_deb822(path.read_text())
    return choose(sources)


def keyring() -> Path:
    """Find the keys that Debian's archive is signed with."""
    for path in KEYRINGS:
        if path.is_file():
            return path
    raise NoMirrorError("package debian-archive-keyring is not installed")
