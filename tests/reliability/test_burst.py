"""Many submissions at once: all answered right, and no process grows with their number."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import pytest

from sandstream.client import Client
from sandstream.folder import load
from sandstream.scenes import EXAMPLES
from tests.e2e.conftest import system
from tests.reliability.load import body

pytestmark = pytest.mark.integration
#: Python programs at once, and for every hundred of them six in C++, each compiled.
COUNT = int(os.environ.get("SANDSTREAM_TEST_BURST", "70"))
IN_CPP = COUNT * 6 // 100
#: Far above what each needs for 5,000 (the API some 70 kB each), far below a leak of bodies.
MIB = {
    "api": 600, "worker": 300, "projector": 300, "builder": 300, "build pool": 300, "nats": 600,
}  # fmt: skip


def peak_mib(pid: int) -> float:
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def in_python(number: int) -> dict:
    cases = [{"stdin": f"{number} 1\n", "expected_stdout": f"{number + 1}\n"}]
    made = body("python3 main.py", cases=cases)
    program = "print(sum(map(int, input().split())))\n"
    made["files"].append({"name": "main.py", "content": program})
    return made


def in_cpp(number: int) -> dict:
    """A program that nobody has compiled before."""
    made = load(EXAMPLES / "cpp")
    made["test_cases"] = [{"stdin": f"{number} 1\n", "expected_stdout": f"{number + 1}\n"}]
    program = (
        f"// {number}\n#include <iostream>\n"
        "int main() { long a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }\n"
    )
    for file in made["files"]:
        if file["name"].endswith(".cpp"):
            file["content"] = program
    return made


@pytest.mark.timeout(600 + COUNT)
async def test_burst_is_answered_right_within_bounded_memory(make_state):
    state, said, waited = make_state(), [], []
    total = COUNT + IN_CPP
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(system(state, said))
        # Each holds at most a hundred connections.
        clients = [
            await stack.enter_async_context(Client(running.url, timeout=120 + total))
            for _ in range(1 + total // 50)
        ]

        async def one(number: int) -> str | None:
            client, began = clients[number % len(clients)], time.monotonic()
            sending = in_python(number) if number < COUNT else in_cpp(number)
            found = await client.run(sending, within=120 + 2 * total)
            waited.append(time.monotonic() - began)
            return found["verdict"] if found["runs"][0]["stdout"] == f"{number + 1}\n" else None

        verdicts = await asyncio.gather(*map(one, range(total)))
        pids = {name: child.pid for name, child in running.children.items()}
        pids["nats"] = int((state.running / "nats").read_text().split()[0])
        tini = running.pair.builder.pid
        pids["builder"] = int(Path(f"/proc/{tini}/task/{tini}/children").read_text().split()[0])
        pids["build pool"] = running.pair.pool.pid
        peaks = {name: round(peak_mib(pid)) for name, pid in pids.items()}
    words = f"{COUNT} Python and {IN_CPP} C++ at once: median {median(waited):.0f} s"
    print(f"{words}, all after {max(waited):.0f} s; MiB at most {peaks}")  # noqa: T201 - the figure
    assert verdicts == ["accepted"] * total
    assert said == []
    assert {name: peak for name, peak in peaks.items() if peak > MIB[name]} == {}
