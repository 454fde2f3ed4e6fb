"""Our AppArmor profile, loaded where the host has AppArmor; it does not survive a reboot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from deploy.say import SetupFailedError, run, say

_ENABLED: Final = Path("/sys/module/apparmor/parameters/enabled")
_LOADED: Final = Path("/sys/kernel/security/apparmor/profiles")
_PROFILE: Final = Path(__file__).parent / "apparmor" / "sandstream"


def load(logs: Path) -> None:
    """Load it unless it is there. Without it a worker still runs submissions, and warns."""
    if not _is_on() or _is_loaded():
        return
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if parser is None:
        say("AppArmor is on, but there is no apparmor_parser: submissions run without a profile")
        return
    try:
        run(
            [parser, "--replace", str(_PROFILE)],
            log=logs / "apparmor.log",
            remedy=f"run `apparmor_parser --replace {_PROFILE}` and read what it says",
        )
    except SetupFailedError as error:
        say(f"the AppArmor profile is not loaded, submissions run without one: {error}")


def _is_on() -> bool:
    return _ENABLED.is_file() and _ENABLED.read_text().strip() == "Y"


def _is_loaded() -> bool:
    try:
        return any(line.startswith("sandstream (") for line in _LOADED.read_text().splitlines())
    except OSError:
        return False
