"""A warm Python submission, again and again: the median of each step, beside bare nsjail."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from init import seccomp
from nix.images import tags
from sandstream.client import Client
from sandstream.folder import load
from sandstream.key import key_for
from sandstream.scenes import EXAMPLES
from sandstream.settings import StackSettings
from sandstream.stack import stack
from sandstream.state import State
from streams import events
from streams.connection import NatsSettings, connect
from streams.reading import stored

ROUNDS: Final = 20
EXAMPLE: Final = EXAMPLES / "python-stdin"
STDIN: Final = "3\n1\n4\n1\n5\n"
HERE: Final = Path(__file__).parent


@dataclass
class Round:
    """One submission: milliseconds since its POST, by what happened.

    `stored` has the same for its events by the log's clock: when each became part of the log. The
    events' own times are taken before they are written.
    """

    id: str = ""
    began: float = 0.0
    at: dict[str, float] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)


def body() -> dict[str, Any]:
    return load(EXAMPLE) | {"test_cases": [{"stdin": STDIN}]}


async def one(client: Client) -> tuple[Round, list[dict[str, Any]]]:
    """Submit, follow, fetch; times of events are those that the events themselves carry."""
    began = time.time()
    measured = Round(began=began)

    def passed(moment: float) -> float:
        return (moment - began) * 1000

    id_ = measured.id = await client.submit(body())
    measured.at["POST answered"] = passed(time.time())
    async for _ in client.events(id_):
        pass
    measured.at["last event heard (SSE)"] = passed(time.time())
    asking = time.time()
    await client.get(id_)
    measured.at["GET"] = (time.time() - asking) * 1000
    history = await client.history(id_)
    for event in history:
        at = datetime.fromisoformat(event["at"]).timestamp()
        measured.at[event["event"]] = passed(at)
    return measured, history


async def stored_at(auditor: NatsSettings, rounds: list[Round]) -> None:
    """When the log took each event."""
    async with connect(auditor, name="bench") as client:
        for one in rounds:
            subject = events.guard(one.id)
            async for batch in stored(client, subject=subject, after=0, upto=sys.maxsize):
                for message in batch:
                    at = datetime.fromisoformat(message.headers["Nats-Time-Stamp"]).timestamp()
                    name = events.parse(message.data, message.sequence).event
                    one.stored[name] = (at - one.began) * 1000


def lay_out(folder: Path, seccomp: str) -> Path:
    """The work folder of bare nsjail, readable for its user; the profile's file."""
    for name in ("run.sh", "main.py"):
        (folder / name).write_bytes((EXAMPLE / name).read_bytes())
    folder.chmod(0o755)
    file = folder / "seccomp.json"
    file.write_text(seccomp)
    return file


async def bare(state: State, closure: list[str], folder: Path) -> list[float]:
    """The same program by nsjail alone, in a container like a submission's."""
    profile = lay_out(folder, json.dumps(seccomp.profile()))
    argv = [
        "docker", "run", "--rm", "--interactive",
        "--user", "29999:29999",
        "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges",
        "--security-opt", f"seccomp={profile}",
        "--security-opt", "systempaths=unconfined",
        "--security-opt", "apparmor=unconfined",
        "--read-only",
        "--network", "none",
        "--volume", f"{state.nix}/store:/nix/store:ro",
        "--volume", f"{folder}:/work:ro",
        "--entrypoint", "/usr/bin/python3",
        tags().runner, "-P", "-s", "-c", (HERE / "bare.py").read_text(),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked = {"closure": closure, "rounds": ROUNDS, "stdin": STDIN}
    out, _ = await process.communicate(json.dumps(asked).encode())
    if process.returncode != 0:
        raise SystemExit("bare nsjail did not run: its words stand above")
    times: list[float] = json.loads(out)
    return times


def table(rounds: list[Round], alone: list[float]) -> Table:
    """Each step, and how long after the one before it."""
    steps = ("submitted", "deps-queued", "deps-built", "started", "ran", "finished")
    shown = Table(title=f"one warm Python submission, median of {len(rounds)}, ms", box=None)
    for heading in ("", "after POST", "step"):
        shown.add_column(heading, justify="left" if not heading else "right")
    before = 0.0
    for name in steps:
        at = median(one.at[name] for one in rounds)
        shown.add_row(name, f"{at:.1f}", f"{at - before:.1f}")
        before = at
    for name in ("POST answered", "last event heard (SSE)"):
        shown.add_row(name, f"{median(one.at[name] for one in rounds):.1f}", "")
    shown.add_row("GET", "", f"{median(one.at['GET'] for one in rounds):.1f}")
    shown.add_row("bare nsjail, same program", "", f"{median(alone):.1f}")
    return shown


async def main() -> int:
    state = State(StackSettings().state.resolve())
    console = Console(highlight=False)
    said = console.print
    async with (
        stack(state, port=0, nats_port=0, say=said) as running,
        Client(running.url, key=key_for(StackSettings(), ours=True)) as client,
    ):
        for _ in range(3):  # builds the environment, warms the pool
            _, history = await one(client)
        built = next(event for event in history if event["event"] == "deps-built")
        rounds = []
        for _ in range(ROUNDS):
            measured, _ = await one(client)
            rounds.append(measured)
            await asyncio.sleep(0.25)  # one at a time: the pool fills again meanwhile
        await stored_at(running.log.settings("auditor"), rounds)
        with tempfile.TemporaryDirectory() as folder:
            alone = await bare(state, built["environment"]["closure"], Path(folder))
    console.print(table(rounds, alone))
    for whose, times in (
        ("the log's clock, from one stored to the other", [one.stored for one in rounds]),
        ("the events' own times, the write of deps-queued included", [one.at for one in rounds]),
    ):
        hits = sorted(at["deps-built"] - at["deps-queued"] for at in times)
        console.print(
            f"from deps-queued to deps-built of a hit: median {median(hits):.1f} ms, "
            f"least {hits[0]:.1f}, most {hits[-1]:.1f} ({whose})"
        )
    ours = median(one.at["finished"] for one in rounds)
    console.print(f"from POST to finished it takes {ours / median(alone):.1f} times bare nsjail")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
