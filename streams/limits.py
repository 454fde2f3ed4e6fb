"""The limits of a submission as events keep them: declared in `init/limits.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import model_validator

from init.limits import Stage, StageLimits, TotalLimits, defaults, total_defaults
from streams.content import Frozen


class Limits(Frozen):
    """The limits of all three stages, and of compile and runs together; each is resolved.

    A limit that a newer version declared is absent from older events: it takes its default, so
    that old histories replay for ever. One that is no longer declared is left out.
    """

    dependencies: StageLimits = defaults(Stage.DEPENDENCIES)
    compile: StageLimits = defaults(Stage.COMPILE)
    run: StageLimits = defaults(Stage.RUN)
    total: TotalLimits = total_defaults()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        usual = {stage.value: asdict(defaults(stage)) for stage in Stage}
        usual["total"] = asdict(total_defaults())
        return {name: _known(usual[name], data[name]) for name in usual if name in data}

    def of(self, stage: Stage) -> StageLimits:
        match stage:
            case Stage.DEPENDENCIES:
                return self.dependencies
            case Stage.COMPILE:
                return self.compile
            case Stage.RUN:
                return self.run


def _known(usual: dict[str, Any], data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    return usual | {name: value for name, value in data.items() if name in usual}
