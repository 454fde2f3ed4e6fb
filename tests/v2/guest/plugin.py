"""A pytest plugin for the guest: the profile that we ship, and what emulation makes meaningless.

What is left out is named one by one, with its reason; all else has to pass as on a real machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.sandbox import harness

#: A test's name, with its parameters or without for all of them -> why not under emulation.
LEFT_OUT: Final[dict[str, str]] = {
    "test_a_trivial_run_costs_less_than_40_ms_of_cpu_time": "it measures the processor",
    "test_figures_are_read_and_not_zero": "it bounds CPU time from above; checks.py has the rest",
    "test_sleep_ends_with_wall_time_limit": "half a second is over before bash's first word",
    "test_fork_bomb_ends_with_process_limit_and_the_host_lives": (
        "forks are so slow that the first shell ends before 30 of them; checks.py has a bomb"
        " that does not end"
    ),
}
#: Limits of time that a test does not set itself are this much longer.
_SLOWER: Final = 10


def pytest_configure():
    """The suite's containers are confined as the worker's are where AppArmor is on."""
    usual = harness.Sandbox.create_argv

    def create_argv(self, uid):
        profile = {"apparmor=unconfined": "apparmor=sandstream"}
        return [profile.get(word, word) for word in usual(self, uid)]

    harness.Sandbox.create_argv = create_argv

    # an emulator's seconds hold less work, and on a busy host the guest counts lost time as used
    defaults = harness.defaults

    def slower(stage):
        usual = defaults(stage)
        return replace(
            usual,
            wall_seconds=usual.wall_seconds * _SLOWER,
            cpu_seconds=usual.cpu_seconds * _SLOWER,
        )

    harness.defaults = slower


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if {item.name, item.originalname} & LEFT_OUT.keys()]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    for item in terminalreporter.stats.get("deselected", ()):
        why = LEFT_OUT.get(item.name) or LEFT_OUT.get(item.originalname)
        if why:
            terminalreporter.write_line(f"LEFT OUT {item.nodeid}: {why}")
