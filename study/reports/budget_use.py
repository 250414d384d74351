"""How much of each limit of a study is used, and how long the rest may take."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from ssl_core.config import Config
from study.spec.budget import (
    AllOf,
    AnyOf,
    Budget,
    Epochs,
    GpuHours,
    Hours,
    NoImprovement,
    Target,
    Trials,
    Usage,
)

LimitName = Literal["trials", "hours", "gpu_hours", "epochs", "no_improvement", "target"]


class Use(Config):
    """One limit.

    Attributes:
        name: of the limit, as in the spec.
        used: so far, in the limit's unit; of a target the best objective, None before the first.
        limit: where it ends.
    """

    name: LimitName
    used: float | None
    limit: float

    @property
    def share(self) -> float | None:
        """Used, in [0, 1]; None for a target, which has no beginning."""
        return None if self.name == "target" else min(1.0, (self.used or 0.0) / self.limit)


@dataclass(frozen=True)
class UsagePace:
    """How fast a study goes.

    Attributes:
        rate: epochs per second over all slots; 0 when not known yet.
        under_way: epochs left of running trials.
        running: trials that are.
        usual: epochs of a trial that has ended, on average.
        gpus: held at present.
    """

    rate: float = 0.0
    under_way: float = 0.0
    running: int = 0
    usual: float = 0.0
    gpus: float = 0.0


def budget_use(budget: Budget, spending: Usage) -> list[Use]:
    """Every limit in a budget, in the order written; `spending.trials` counts those that have ended."""
    return list(_uses(budget, spending))


def _uses(budget: Budget, spending: Usage) -> Iterator[Use]:
    match budget:
        case Trials():
            yield Use(name="trials", used=spending.trials, limit=budget.trials)
        case Hours():
            yield Use(name="hours", used=spending.seconds / 3600, limit=budget.hours)
        case GpuHours():
            yield Use(name="gpu_hours", used=spending.gpu_seconds / 3600, limit=budget.gpu_hours)
        case Epochs():
            yield Use(name="epochs", used=spending.epochs, limit=budget.epochs)
        case NoImprovement():
            yield Use(name="no_improvement", used=spending.since_best, limit=budget.no_improvement)
        case Target():
            yield Use(name="target", used=spending.best, limit=budget.target)
        case AnyOf():
            for part in budget.any:
                yield from _uses(part, spending)
        case AllOf():
            for part in budget.all:
                yield from _uses(part, spending)
        case _:
            assert_never(budget)


def seconds_left(budget: Budget, spending: Usage, pace: UsagePace) -> float | None:
    """An estimate from the present pace; None where nothing is known."""
    match budget:
        case Trials():
            waiting = max(0, budget.trials - spending.trials - pace.running)
            return _at(pace.rate, pace.under_way + waiting * pace.usual)
        case Hours():
            return max(0.0, 3600 * budget.hours - spending.seconds)
        case GpuHours():
            return _at(pace.gpus, 3600 * budget.gpu_hours - spending.gpu_seconds)
        case Epochs():
            return _at(pace.rate, budget.epochs - spending.epochs)
        case NoImprovement() | Target():
            return None
        case AnyOf():
            known = [left for part in budget.any if (left := seconds_left(part, spending, pace)) is not None]
            return min(known, default=None)
        case AllOf():
            every = [seconds_left(part, spending, pace) for part in budget.all]
            known = [left for left in every if left is not None]
            return max(known) if len(known) == len(every) else None
        case _:
            assert_never(budget)


def _at(rate: float, amount: float) -> float | None:
    return max(0.0, amount) / rate if rate > 0 else None
