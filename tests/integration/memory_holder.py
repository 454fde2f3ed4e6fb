"""`python memory_holder.py STORE BUDGET_MIB [UID]`: reserves as its input says, says what it holds.

Lines in: `take NAME MIB`, `free NAME`. Lines out: `has NAME`, `freed NAME`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from init.limits import MIB
from streams.memory import Ledger


def say(*words: str) -> None:
    print(*words, flush=True)  # noqa: T201 - to whoever tells it what to do


async def main() -> None:
    for uid in map(int, sys.argv[3:]):  # the checkout may be closed to it: not before the imports
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    ledger = Ledger(Path(sys.argv[1]), int(sys.argv[2]) * MIB)
    ledger.make()
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    holders: dict[str, asyncio.Task[None]] = {}

    async def hold(name: str, size: int) -> None:
        async with ledger.reserved(size * MIB):
            say("has", name)
            await asyncio.sleep(1e6)

    say("ready")
    while line := (await lines.readline()).decode().split():
        match line:
            case ["take", name, size]:
                holders[name] = asyncio.create_task(hold(name, int(size)))
            case ["free", name]:
                holders[name].cancel()
                await asyncio.wait([holders.pop(name)])
                say("freed", name)


asyncio.run(main())
