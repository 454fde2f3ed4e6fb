"""What the demo submits, and what must come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandstream.client import Submission
from sandstream.folder import load
from sandstream.report import stages, written
from sandstream.state import CHECKOUT

EXAMPLES: Final = CHECKOUT / "examples"
_CACHED: Final = ("submitted", "deps-queued", "deps-built", "started")
_UNCACHED: Final = ("submitted", "started", "deps-built")


@dataclass(frozen=True)
class Scene:
    """One submission: `stages` are the outcomes by name, `events` the whole sequence."""

    title: str
    example: str
    events: tuple[str, ...]
    stages: Mapping[str, str]
    verdict: str
    how: frozenset[str] = frozenset({"built", "joined", "hit"})
    text: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False

    def body(self, token: str) -> dict[str, Any]:
        """The request. A `fresh` one brings an environment that no one has built before."""
        body = load(EXAMPLES / self.example)
        if self.fresh:
            for file in body["files"]:
                if file["name"] == "shell.nix":
                    file["content"] = stamped(file["content"], token)
        return body


def stamped(shell_nix: str, token: str) -> str:
    """The same shell with a variable more: another derivation, so Nix has something to build."""
    return shell_nix.replace("mkShell {", f'mkShell {{\n  DEMO = "{token}";', 1)


SCENES: Final = (
    Scene(
        "Python reading stdin, two test cases",
        "python-stdin",
        events=(*_CACHED, "ran", "ran", "finished"),
        stages={"dependencies": "ok", "run 1": "ok", "run 2": "ok"},
        verdict="accepted",
        text={"run 1": r"^5 numbers, sum 14"},
    ),
    Scene(
        "C++ with compile.sh, a new environment",
        "cpp",
        events=(*_CACHED, "compiled", "ran", "finished"),
        stages={"dependencies": "ok", "compile": "ok", "run 1": "ok"},
        verdict="accepted",
        how=frozenset({"built"}),
        text={"run 1": r"^348513 primes"},
        fresh=True,
    ),
    Scene(
        "C++ again in the same environment",
        "cpp",
        events=(*_CACHED, "compiled", "ran", "finished"),
        stages={"dependencies": "ok", "compile": "ok", "run 1": "ok"},
        verdict="accepted",
        how=frozenset({"hit"}),
        fresh=True,
    ),
    Scene(
        "Python with cache: false",
        "python-uncached",
        events=(*_UNCACHED, "ran", "finished"),
        stages={"dependencies": "ok", "run 1": "ok"},
        verdict="ok",
        how=frozenset({"in-container"}),
        text={"run 1": r"network: Network is unreachable"},
    ),
    Scene(
        "C++ that does not compile",
        "cpp-broken",
        events=(*_CACHED, "compiled", "finished"),
        stages={"dependencies": "ok", "compile": "nonzero-exit"},
        verdict="compile-error",
        text={"compile": r"main\.cpp:5.*error"},
    ),
    Scene(
        "Python that never ends, wall limit 1 s",
        "python-too-long",
        events=(*_CACHED, "ran", "finished"),
        stages={"dependencies": "ok", "run 1": "wall-time-limit"},
        verdict="wall-time-limit",
        text={"run 1": r"counting to infinity"},
    ),
)


def differences(
    scene: Scene, events: tuple[str, ...], how: str | None, found: Submission
) -> list[str]:
    """What is not as it must be; empty when all is well."""
    wrong = []
    if events != scene.events:
        wrong.append(f"events were {', '.join(events)}; expected {', '.join(scene.events)}")
    if how not in scene.how:
        wrong.append(f"deps-built said {how}; expected {' or '.join(sorted(scene.how))}")
    results = dict(stages(found))
    outcomes = {name: result["outcome"] for name, result in results.items()}
    if outcomes != dict(scene.stages):
        wrong.append(f"outcomes were {outcomes}; expected {dict(scene.stages)}")
    if found.get("verdict") != scene.verdict:
        wrong.append(f"verdict was {found.get('verdict')}; expected {scene.verdict}")
    for name, pattern in scene.text.items():
        result = results.get(name)
        said = written(result, "stdout") + written(result, "stderr") if result else ""
        if not re.search(pattern, said, re.MULTILINE):
            wrong.append(f"{name} wrote {said[:200]!r}; expected /{pattern}/")
    return wrong
