"""The banner: what a person who has just started it can look at."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from sandstream import serve
from sandstream.builders import instance
from sandstream.eventlog import EventLogServer
from sandstream.stack import Stack
from sandstream.state import State

STATE = State(Path("/s"))


def banner():
    console = Console(file=StringIO(), width=120)
    log = EventLogServer("nats://127.0.0.1:4222", {}, STATE.passwords)
    serve._banner(console, STATE, Stack("http://127.0.0.1:8000", log), 1.0)
    return console.file.getvalue().splitlines()


def test_the_banner_says_where_each_process_writes(monkeypatch):
    monkeypatch.delenv("SANDSTREAM_CLUSTER", raising=False)
    lines = banner()
    assert "  logs           /s/logs/{api,projector,worker}.log  /s/nats/nats.log" in lines
    assert f"  builder's      docker logs {instance(STATE)}-builder" in lines


def test_the_log_of_a_clusters_servers_is_not_here(monkeypatch):
    monkeypatch.setenv("SANDSTREAM_CLUSTER", "nats://n1:4222")
    assert "  logs           /s/logs/{api,projector,worker}.log" in banner()
