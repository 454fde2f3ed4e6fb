"""Evidence and outcome, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from init.cgroups import Figures
from init.judge import Evidence, judge, signal_name
from init.limits import Stage, defaults
from init.outcome import Outcome

LIMITS = defaults(Stage.RUN)
CALM = Figures(cpu_seconds=0.1, memory_peak_bytes=1000, oom_kills=0, refused_forks=0)
GOOD = Evidence(started=True, exit_code=0, wall_seconds=0.2, figures=CALM)


def figures(**changes) -> Figures:
    return replace(CALM, **changes)


@pytest.mark.parametrize(
    ("changes", "outcome", "signal"),
    [
        ({}, Outcome.OK, None),
        ({"exit_code": 1}, Outcome.NONZERO_EXIT, None),
        ({"exit_code": 128}, Outcome.NONZERO_EXIT, None),
        ({"exit_code": 139}, Outcome.SIGNALLED, "SIGSEGV"),
        ({"exit_code": 128 + 32}, Outcome.NONZERO_EXIT, None),  # glibc's own, not a real signal
        ({"exit_code": 128 + 36}, Outcome.SIGNALLED, "SIGRTMIN+2"),
        ({"exit_code": 255}, Outcome.NONZERO_EXIT, None),
        ({"exit_code": None}, Outcome.SIGNALLED, "SIGKILL"),
        ({"exit_code": 153}, Outcome.FILE_SIZE_LIMIT, "SIGXFSZ"),
        ({"wall_seconds": 10.0}, Outcome.WALL_TIME_LIMIT, None),
        ({"figures": figures(cpu_seconds=10.0)}, Outcome.CPU_TIME_LIMIT, None),
        ({"figures": figures(oom_kills=1)}, Outcome.MEMORY_LIMIT, None),
        # killed for want of memory, but not of its own limit's: the machine's fault
        ({"figures": figures(oom_kills=1, oom_at_limit=False)}, Outcome.SANDBOX_ERROR, None),
        ({"figures": figures(oom_kills=1, oom_at_limit=False), "wall_seconds": 10.0},
         Outcome.WALL_TIME_LIMIT, None),
        ({"file_at_limit": True}, Outcome.OK, None),
        ({"file_at_limit": True, "exit_code": 1}, Outcome.FILE_SIZE_LIMIT, None),
        ({"stdout_total": LIMITS.stdout_bytes}, Outcome.OK, None),
        ({"stdout_total": LIMITS.stdout_bytes + 1}, Outcome.STDOUT_LIMIT, None),
        ({"stderr_total": LIMITS.stderr_bytes + 1}, Outcome.STDERR_LIMIT, None),
        ({"disk_was_full": True}, Outcome.OK, None),
        ({"disk_was_full": True, "exit_code": 1}, Outcome.DISK_LIMIT, None),
        ({"figures": figures(refused_forks=3)}, Outcome.OK, None),
        ({"figures": figures(refused_forks=3), "exit_code": 1}, Outcome.PROCESS_LIMIT, None),
        ({"started": False, "exit_code": 255}, Outcome.SANDBOX_ERROR, None),
        ({"started": False, "exit_code": 0}, Outcome.SANDBOX_ERROR, None),
        ({"started": False, "exit_code": None, "figures": figures(oom_kills=1)},
         Outcome.MEMORY_LIMIT, "SIGKILL"),
        ({"started": False, "exit_code": None, "wall_seconds": 10.0},
         Outcome.WALL_TIME_LIMIT, "SIGKILL"),
        ({"started": False, "exit_code": 255, "figures": figures(refused_forks=1)},
         Outcome.PROCESS_LIMIT, None),
        ({"started": False, "exit_code": 255, "figures": figures(oom_kills=1),
          "sandbox_log": "mount: no"}, Outcome.SANDBOX_ERROR, None),
    ],
)  # fmt: skip
def test_evidence_makes_outcome(changes, outcome, signal):
    judgement = judge(replace(GOOD, **changes), LIMITS)
    assert (judgement.outcome, judgement.signal) == (outcome, signal)


def test_first_of_several_causes_is_told_in_order_of_precedence():
    everything = replace(
        GOOD,
        exit_code=153,
        wall_seconds=99,
        figures=Figures(99, 0, oom_kills=1, refused_forks=1),
        stdout_total=1 << 30,
        stderr_total=1 << 30,
        disk_was_full=True,
    )
    clear = [
        {"wall_seconds": 0.0},
        {"figures": Figures(0, 0, oom_kills=1, refused_forks=1)},
        {"figures": Figures(0, 0, oom_kills=0, refused_forks=1)},
        {"stdout_total": 0},
        {"stderr_total": 0},
        {"disk_was_full": False},
        {"exit_code": 137},
        {"figures": CALM},
        {"exit_code": 1},
        {"exit_code": 0},
    ]
    told = [judge(everything, LIMITS).outcome]
    for changes in clear:
        everything = replace(everything, **changes)
        told.append(judge(everything, LIMITS).outcome)
    assert told == [o for o in Outcome if o not in {Outcome.SANDBOX_ERROR, Outcome.CANCELLED}]


def test_message_of_a_sandbox_error_is_nsjails():
    failed = replace(GOOD, started=False, exit_code=255, sandbox_log="[F] mount: no")
    assert judge(failed, LIMITS).message == "[F] mount: no"


def test_signal_names():
    assert signal_name(None) == "SIGKILL"
    assert signal_name(130) == "SIGINT"
    assert signal_name(0) is None
    assert signal_name(129 + 64) is None
