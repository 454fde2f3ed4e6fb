"""The Docker engine: started where none answers, never stopped by us."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Final

from deploy.say import SetupFailedError, run, step, succeeds

_READY_SECONDS: Final = 60.0
_SYSTEMD: Final = Path("/run/systemd/system")
#: Where a machine forbids iptables, the engine still runs. No submission needs its bridge.
_WITHOUT_BRIDGE: Final = ("--iptables=false", "--ip6tables=false", "--bridge=none")


def answers() -> bool:
    """Whether an engine answers."""
    return succeeds(["docker", "version", "--format", "{{.Server.Version}}"])


def start(logs: Path) -> None:
    """Make sure that an engine answers. It outlives us, as a system's service does."""
    if answers():
        return
    log = logs / "dockerd.log"
    with step("start the Docker engine", "5 s"):
        if _SYSTEMD.is_dir():
            remedy = "look at `journalctl --unit docker`"
            run(["systemctl", "start", "docker"], log=log, remedy=remedy)
            wait(None, log)
            return
        if not wait(launch(log), log):
            wait_or_fail(launch(log, *_WITHOUT_BRIDGE), log)


def launch(log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that no Ctrl-C meant for us reaches it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"$ dockerd {' '.join(options)}\n".encode())
        out.flush()
        return subprocess.Popen(
            ["dockerd", *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )


def wait(process: subprocess.Popen[bytes] | None, log: Path) -> bool:
    """Whether it answers in time; False at once when the process has ended."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if answers():
            return True
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.2)
    raise SetupFailedError(
        f"the Docker engine did not answer within {_READY_SECONDS:.0f} s",
        log=log,
        remedy="start dockerd yourself, then run this again",
    )


def wait_or_fail(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raise with the engine's own words when it ended."""
    if not wait(process, log):
        raise SetupFailedError(
            f"dockerd ended with status {process.returncode}",
            log=log,
            remedy="start dockerd yourself, then run this again",
        )
