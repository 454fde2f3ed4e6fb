"""What a request may ask of each limit: `init/limits.py`, with this installation's changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from init.limits import LIMITS, TOTALS, Stage, StageLimits, TotalLimits
from streams.limits import Limits

#: The group of limits on compile and all runs together; the others are the stages.
TOTAL: Final = "total"
_MEMORY: Final = "memory_bytes"


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit of one group, as it is declared."""

    name: str
    kind: type[int | float]
    default: float
    maximum: float
    meaning: str


def _of_stage(stage: Stage) -> tuple[Bound, ...]:
    return tuple(
        Bound(one.name, one.kind, one.default(stage), one.maximum(stage), one.meaning)
        for one in LIMITS
    )


#: Every limit that a request may name, by its group.
GROUPS: Final[Mapping[str, tuple[Bound, ...]]] = {
    **{stage.value: _of_stage(stage) for stage in Stage},
    TOTAL: tuple(
        Bound(one.name, one.kind, one.default, one.maximum, one.meaning) for one in TOTALS
    ),
}


class Override(BaseModel):
    """Another default or maximum for one limit of one group."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: float | None = Field(default=None, gt=0)
    maximum: float | None = Field(default=None, gt=0)


class LimitOverrides(BaseModel):
    """By group and limit; what is not named stays as `init/limits.py` declares it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dependencies: dict[str, Override] = Field(default_factory=dict)
    compile: dict[str, Override] = Field(default_factory=dict)
    run: dict[str, Override] = Field(default_factory=dict)
    total: dict[str, Override] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> LimitOverrides:
        for group, bounds in GROUPS.items():
            unknown = self.of(group).keys() - {bound.name for bound in bounds}
            if unknown:
                raise ValueError(f"{group}: no such limit: {', '.join(sorted(unknown))}")
            for bound in bounds:
                asked = self.of(group).get(bound.name, Override()).default
                if asked is not None and asked > self.maximum(group, bound):
                    raise ValueError(
                        f"{group}.{bound.name}: default {asked:g} is above "
                        f"the maximum {self.maximum(group, bound):g}"
                    )
        return self

    def of(self, group: str) -> dict[str, Override]:
        found: dict[str, Override] = getattr(self, group)
        return found

    def in_memory(self, budget_bytes: int) -> LimitOverrides:
        """With no memory limit above that. Raises ValueError where a default is."""
        capped = {}
        for stage in Stage:
            (bound,) = (bound for bound in GROUPS[stage.value] if bound.name == _MEMORY)
            most = min(self.maximum(stage.value, bound), budget_bytes)
            own = self.of(stage.value)
            override = own.get(_MEMORY, Override()).model_copy(update={"maximum": most})
            capped[stage.value] = own | {_MEMORY: override}
        return LimitOverrides(**capped, total=self.total)

    def maximum(self, group: str, bound: Bound) -> float:
        asked = self.of(group).get(bound.name, Override()).maximum
        return bound.kind(bound.maximum if asked is None else asked)

    def default(self, group: str, bound: Bound) -> float:
        """Never above the maximum, also where only the maximum was lowered."""
        asked = self.of(group).get(bound.name, Override()).default
        wanted = bound.default if asked is None else asked
        return bound.kind(min(wanted, self.maximum(group, bound)))


def resolve(overrides: LimitOverrides, asked: Mapping[str, Mapping[str, float]]) -> Limits:
    """The limits of all groups: what is asked, else the default. `asked` is checked already."""
    values: dict[str, dict[str, Any]] = {
        group: {
            bound.name: bound.kind(
                asked.get(group, {}).get(bound.name, overrides.default(group, bound))
            )
            for bound in bounds
        }
        for group, bounds in GROUPS.items()
    }
    return Limits(
        **{stage.value: StageLimits(**values[stage]) for stage in Stage},
        total=TotalLimits(**values[TOTAL]),
    )


def limits_model(
    overrides: LimitOverrides, of: Iterable[str] = GROUPS, name: str = "Limits"
) -> type[BaseModel]:
    """The HTTP model of `limits`: every group and every limit optional, its range in its schema."""
    groups: dict[str, Any] = {
        group: (_group_model(group, overrides) | None, Field(default=None, description=_of(group)))
        for group in map(str, of)
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **groups)


def _of(group: str) -> str:
    if group == TOTAL:
        return "Limits of compile and all runs together."
    return f"Limits of the stage {group}."


def _group_model(group: str, overrides: LimitOverrides) -> Any:
    fields: dict[str, Any] = {
        bound.name: (
            bound.kind | None,
            Field(
                default=None,
                gt=0,
                le=overrides.maximum(group, bound),
                allow_inf_nan=None if bound.kind is int else False,
                description=f"{bound.meaning} Default {overrides.default(group, bound):_g}."
                if bound.kind is float
                else f"{bound.meaning} Default {int(overrides.default(group, bound)):_}.",
            ),
        )
        for bound in GROUPS[group]
    }
    name = f"{group.capitalize()}Limits"
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)
