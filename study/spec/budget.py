"""When a study ends. Limits compose: `any` of them, or `all`.

    budget:
      any:
        - hours: 8
        - gpu_hours: 40
        - all: [{trials: 30}, {no_improvement: 10}]

Trials and no_improvement let what runs finish. The others are about what is spent or reached: running trials end at
their next report, so a study never spends more than one report per running trial beyond the limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from ssl_core.config import Config


@dataclass(frozen=True)
class Usage:
    """What a study has used and reached, over all its invocations."""

    trials: int = 0  # that count (refused configurations do not)
    seconds: float = 0.0  # wall time during which a driver ran it
    gpu_seconds: float = 0.0  # GPUs held times seconds
    epochs: int = 0  # reported by trials
    since_best: int = 0  # finished trials since the best of the finished ones
    best: float | None = None  # best objective so far, None before the first
    maximize: bool = True  # direction of the objective


@dataclass(frozen=True)
class LimitReached:
    """A limit is reached: why, and whether running trials end at their next report too."""

    reason: str
    stops_running: bool


class Trials(Config):
    """Spent after this many trials."""

    trials: int = Field(ge=1)

    def spent(self, usage: Usage) -> LimitReached | None:
        return LimitReached(f"all {self.trials} trials are done", False) if usage.trials >= self.trials else None


class Hours(Config):
    """Spent after this wall time under a driver."""

    hours: float = Field(gt=0, allow_inf_nan=False)

    def spent(self, usage: Usage) -> LimitReached | None:
        return LimitReached(f"{self.hours:g} hours are over", True) if usage.seconds >= 3600 * self.hours else None


class GpuHours(Config):
    """Spent after this many GPUs times hours held."""

    gpu_hours: float = Field(gt=0, allow_inf_nan=False)

    def spent(self, usage: Usage) -> LimitReached | None:
        over = usage.gpu_seconds >= 3600 * self.gpu_hours
        return LimitReached(f"{self.gpu_hours:g} GPU-hours are used", True) if over else None


class Epochs(Config):
    """Spent after this many epochs over all trials."""

    epochs: int = Field(ge=1)

    def spent(self, usage: Usage) -> LimitReached | None:
        return LimitReached(f"{self.epochs} epochs are trained", True) if usage.epochs >= self.epochs else None


class NoImprovement(Config):
    """Spent when this many trials in a row finished without a new best."""

    no_improvement: int = Field(ge=1)

    def spent(self, usage: Usage) -> LimitReached | None:
        over = usage.since_best >= self.no_improvement
        return LimitReached(f"{usage.since_best} trials in a row brought no new best", False) if over else None


class Target(Config):
    """Spent when the objective is as good as this."""

    target: float = Field(allow_inf_nan=False)

    def spent(self, usage: Usage) -> LimitReached | None:
        if usage.best is None:
            return None
        reached = usage.best >= self.target if usage.maximize else usage.best <= self.target
        return LimitReached(f"the target {self.target:g} is reached: {usage.best:g}", True) if reached else None


class AnyOf(Config):
    """Spent when one of them is."""

    any: tuple["Budget", ...] = Field(min_length=1)

    def spent(self, usage: Usage) -> LimitReached | None:
        """One that is spent: the first that ends running trials, else the first."""
        found = [spent for part in self.any if (spent := part.spent(usage))]
        return next((spent for spent in found if spent.stops_running), found[0] if found else None)


class AllOf(Config):
    """Spent when every one of them is."""

    all: tuple["Budget", ...] = Field(min_length=1)

    def spent(self, usage: Usage) -> LimitReached | None:
        """All reasons; running trials end if every one says so."""
        found = [part.spent(usage) for part in self.all]
        reached = [spent for spent in found if spent]
        if len(reached) < len(found):
            return None
        return LimitReached("; ".join(s.reason for s in reached), all(s.stops_running for s in reached))


KINDS = ("trials", "hours", "gpu_hours", "epochs", "no_improvement", "target", "any", "all")


def _kind(given: Any) -> str | None:
    """A limit is known by its one key."""
    keys = list(given) if isinstance(given, Mapping) else [key for key in KINDS if hasattr(given, key)]
    return keys[0] if len(keys) == 1 and keys[0] in KINDS else None


Budget = Annotated[
    Annotated[Trials, Tag("trials")]
    | Annotated[Hours, Tag("hours")]
    | Annotated[GpuHours, Tag("gpu_hours")]
    | Annotated[Epochs, Tag("epochs")]
    | Annotated[NoImprovement, Tag("no_improvement")]
    | Annotated[Target, Tag("target")]
    | Annotated[AnyOf, Tag("any")]
    | Annotated[AllOf, Tag("all")],
    Discriminator(
        _kind,
        custom_error_type="budget",
        custom_error_message=f"a limit is a mapping with exactly one of the keys {', '.join(KINDS)}",
    ),
]
"""`spent(usage)` says why no more is started, or None."""

AnyOf.model_rebuild()
AllOf.model_rebuild()
