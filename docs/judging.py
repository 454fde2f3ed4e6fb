"""What the judge makes of outcomes and outputs, by asking it."""

from __future__ import annotations

import json
from typing import Final

from init.outcome import Outcome
from streams.fold import Submission
from streams.results import RunResult, StageResult
from worker import comparison, verdict


def verdicts() -> str:
    """What the judge makes of each outcome, by asking it."""
    lines = [
        "| outcome | in `dependencies`, the verdict is | in `compile` | in a run |",
        "|---|---|---|---|",
    ]
    for outcome in Outcome:
        if outcome in {Outcome.SANDBOX_ERROR, Outcome.CANCELLED}:
            continue
        result = StageResult(outcome=outcome)
        told = verdict.of_run(outcome, same=True)
        run = RunResult(case=0, outcome=outcome, verdict=told)
        if outcome is Outcome.OK:
            cells = ["-", "-", "`accepted` or `wrong-answer`; `ok` where nothing is expected"]
        else:
            states = (
                Submission(dependencies=result), Submission(compile=result), Submission(runs=(run,))
            )  # fmt: skip
            cells = [f"`{verdict.of_submission(state)}`" for state in states]
        lines.append(f"| `{outcome.value}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_COMPARES: Final = ("exact", "trailing", "tokens", "float:1e-6")
_PAIRS: Final = (
    ("42\n", "42\n"),
    ("42", "42\n"),
    ("42 \n\n", "42\n"),
    (" 42\n", "42\n"),
    ("1  2\n3\n", "1 2 3\n"),
    ("0.3333333\n", "0.333333333\n"),
    ("1000000.5\n", "1000000\n"),
    ("1e3\n", "1000\n"),
    ("yes\n", "YES\n"),
    ("1.000001\n", "1\n"),
    ("-0\n", "0\n"),
    ("inf\n", "+inf\n"),
    ("1e999\n", "2e999\n"),
    ("0x8\n", "8\n"),
    ("nan\n", "nan\n"),
    ("", "42\n"),
)


def comparisons() -> str:
    """What each comparison accepts, by asking it."""
    lines = ["| stdout | expected | " + " | ".join(f"`{one}`" for one in _COMPARES) + " |"]
    lines.append("|---|---|" + "---|" * len(_COMPARES))
    for stdout, expected in _PAIRS:
        same = [comparison.agrees(stdout.encode(), expected.encode(), one) for one in _COMPARES]
        cells = " | ".join("yes" if one else "no" for one in same)
        lines.append(f"| `{json.dumps(stdout)}` | `{json.dumps(expected)}` | {cells} |")
    return "\n".join(lines)
