"""What a request may ask of each limit: `init.limits.LIMITS`, with this installation's changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from init.limits import LIMITS, Limit, Stage, StageLimits
from streams.limits import Limits


class Override(BaseModel):
    """Another default or maximum for one limit of one stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: float | None = Field(default=None, gt=0)
    maximum: float | None = Field(default=None, gt=0)


class LimitOverrides(BaseModel):
    """By stage and limit; what is not named stays as `init/limits.py` declares it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dependencies: dict[str, Override] = Field(default_factory=dict)
    compile: dict[str, Override] = Field(default_factory=dict)
    run: dict[str, Override] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> LimitOverrides:
        known = {limit.name for limit in LIMITS}
        for stage in Stage:
            unknown = self.of(stage).keys() - known
            if unknown:
                raise ValueError(f"{stage}: no such limit: {', '.join(sorted(unknown))}")
            for limit in LIMITS:
                asked = self.of(stage).get(limit.name, Override()).default
                if asked is not None and asked > self.maximum(stage, limit):
                    raise ValueError(
                        f"{stage}.{limit.name}: default {asked:g} is above "
                        f"the maximum {self.maximum(stage, limit):g}"
                    )
        return self

    def of(self, stage: Stage) -> dict[str, Override]:
        found: dict[str, Override] = getattr(self, stage.value)
        return found

    def maximum(self, stage: Stage, limit: Limit) -> float:
        asked = self.of(stage).get(limit.name, Override()).maximum
        return limit.kind(limit.maximum(stage) if asked is None else asked)

    def default(self, stage: Stage, limit: Limit) -> float:
        """Never above the maximum, also where only the maximum was lowered."""
        asked = self.of(stage).get(limit.name, Override()).default
        wanted = limit.default(stage) if asked is None else asked
        return limit.kind(min(wanted, self.maximum(stage, limit)))


def resolve(overrides: LimitOverrides, asked: Mapping[str, Mapping[str, float]]) -> Limits:
    """The limits of all stages: what is asked, else the default. `asked` is checked already."""
    stages: dict[str, StageLimits] = {}
    for stage in Stage:
        wanted = asked.get(stage.value, {})
        values: dict[str, Any] = {
            limit.name: limit.kind(wanted.get(limit.name, overrides.default(stage, limit)))
            for limit in LIMITS
        }
        stages[stage.value] = StageLimits(**values)
    return Limits(**stages)


def limits_model(
    overrides: LimitOverrides, of: Iterable[Stage] = Stage, name: str = "Limits"
) -> type[BaseModel]:
    """The HTTP model of `limits`: every stage and every limit optional, its range in its schema."""
    stages: dict[str, Any] = {
        stage.value: (
            _stage_model(stage, overrides) | None,
            Field(default=None, description=f"Limits of the stage {stage.value}."),
        )
        for stage in of
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **stages)


def _stage_model(stage: Stage, overrides: LimitOverrides) -> Any:
    fields: dict[str, Any] = {
        limit.name: (
            limit.kind | None,
            Field(
                default=None,
                gt=0,
                le=overrides.maximum(stage, limit),
                allow_inf_nan=None if limit.kind is int else False,
                description=f"{limit.meaning} Default {overrides.default(stage, limit):_g}."
                if limit.kind is float
                else f"{limit.meaning} Default {int(overrides.default(stage, limit)):_}.",
            ),
        )
        for limit in LIMITS
    }
    name = f"{stage.value.capitalize()}Limits"
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)
