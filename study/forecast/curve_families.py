"""Made-up learning curves, of the kinds that are hard for a search: crossing, late, diverging.

Every number that a configuration has, whatever its range, enters through its place in that range, so the families
work on any space. The distance from a hidden optimum makes the final loss; how fast a curve falls belongs to a
configuration too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np

from search_spaces.parameter import Choice, FloatRange, IntRange, Parameter, encode
from search_spaces.space import SearchSpace
from study.forecast.learning_curve import Curve, Mishap, draws


@dataclass(frozen=True)
class PowerLaw:
    """`floor(x) + rise * epoch^-rate(x)` as a loss; the objective is one minus it.

    Attributes:
        space: whose parameters they are.
        metric: what it is reported as.
        epochs: of a whole run.
        seconds: of an epoch; varies by up to `uneven` between configurations, as a share.
        rise: of the objective from before the first epoch to the limit.
        weight: of the distance from the hidden optimum, in the objective.
        crossing: how much the rate depends on the configuration; 0 keeps the curves in order at every epoch.
        noise: standard deviation of the objective, per epoch and seed.
        late: share of configurations that rest at the beginning for a third of their epochs.
        diverging, crashing, refused, hungry: shares of configurations that go wrong so; a hungry one runs out of
            memory until it has twice the share.
        landscape: draws the hidden optimum.
    """

    space: SearchSpace
    metric: str
    epochs: int = 27
    seconds: float = 10.0
    uneven: float = 0.5
    rise: float = 0.3
    weight: float = 0.5
    crossing: float = 0.0
    noise: float = 0.0
    late: float = 0.0
    diverging: float = 0.0
    crashing: float = 0.0
    refused: float = 0.0
    hungry: float = 0.0
    landscape: int = 0
    _hidden: dict[str, float] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for parameter in self.space.parameters:
            self._hidden[parameter.key] = float(draws({"key": parameter.key}, self.landscape, "optimum").random())

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """See `CurveSource`."""
        own = draws(values, self.landscape, "configuration")
        away = self.distance(values)
        rate = 0.5 + self.crossing * float(own.random())
        resting = self.epochs // 3 if own.random() < self.late else 0
        pace = self.seconds * (1 + self.uneven * float(own.random()))
        epochs = np.maximum(np.arange(1, self.epochs + 1) - resting, 1)
        loss = 0.1 + self.weight * away + self.rise * (1 + self.crossing * (1 - away)) * epochs**-rate
        objective = 1 - loss + self.noise * draws(values, seed, "noise").standard_normal(self.epochs)
        return Curve(
            tuple({self.metric: float(value)} for value in objective),
            (pace,) * self.epochs,
            self._mishap(own),
        )

    def distance(self, values: Mapping[str, Any]) -> float:
        """From the hidden optimum, between 0 and 1: times `weight`, what the final objective is lowered by."""
        apart = [
            (place(parameter, values[parameter.key]) - self._hidden[parameter.key]) ** 2
            for parameter in self.space.parameters
            if parameter.key in values
        ]
        return math.sqrt(sum(apart) / max(1, len(apart)))

    def _mishap(self, own: np.random.Generator) -> Mishap | None:
        epoch, times, chance = int(own.integers(1, self.epochs + 1)), int(own.integers(1, 4)), float(own.random())
        kinds = (
            (self.diverging, Mishap("diverge", epoch)),
            (self.crashing, Mishap("crash", epoch, times)),
            (self.refused, Mishap("refuse")),
            (self.hungry, Mishap("oom", epoch)),
        )
        for share, mishap in kinds:
            if chance < share:
                return mishap
            chance -= share
        return None


def place(parameter: Parameter, value: Any) -> float:
    """Where a value lies in its domain, from 0 to 1; on the logarithm where the domain does."""
    domain = parameter.domain
    match domain:
        case Choice():
            names = [encode(choice) for choice in domain.values]
            return names.index(encode(value)) / max(1, len(names) - 1)
        case FloatRange() if domain.kind == "log":
            return math.log(value / domain.low) / math.log(domain.high / domain.low)
        case FloatRange() | IntRange():
            return float((value - domain.low) / ((domain.high - domain.low) or 1))
        case _:
            assert_never(domain)
