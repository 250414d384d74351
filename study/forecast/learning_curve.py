"""What a simulated trial would report: made-up learning curves, of the kinds that are hard for a search.

Every number that a configuration has, whatever its range, enters through its place in that range, so they work on any
space. The distance from a hidden optimum makes the final loss; how fast a curve falls belongs to a configuration too.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

import numpy as np

from search_spaces.parameter import Choice, FloatRange, IntRange, Parameter, encode
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Curve:
    """A trial's whole life, if nobody stops it."""

    metrics: tuple[Mapping[str, float], ...]  # of each epoch, the first first; finite
    seconds: tuple[float, ...]  # that each epoch takes

    def __post_init__(self) -> None:
        if not self.metrics or len(self.metrics) != len(self.seconds):
            raise ValueError(
                f"a curve needs metrics and seconds of the same epochs, at least one: "
                f"{len(self.metrics)} and {len(self.seconds)} were given"
            )

    @property
    def epochs(self) -> int:
        """From beginning to end."""
        return len(self.metrics)


class CurveSource(Protocol):
    """Where learning curves come from. The same values and seed give the same curve."""

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """The curve of a trial with these dotted config values.

        Raises:
            ConfigError: they are refused when the session is opened.
        """
        ...


def draws(values: Mapping[str, Any], seed: int, purpose: str = "") -> np.random.Generator:
    """Random numbers that belong to a configuration, a seed and a purpose, on any machine and in any order."""
    text = json.dumps([dict(values), seed, purpose], sort_keys=True)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@dataclass(frozen=True)
class PowerLaw:
    """`floor(x) + rise * epoch^-rate(x)` as a loss; the objective is one minus it."""

    space: SearchSpace  # whose parameters they are
    metric: str  # what it is reported as
    epochs: int = 27  # of a whole run
    seconds: float = 10.0  # of an epoch; varies by up to `uneven` between configurations, as a share
    uneven: float = 0.5
    rise: float = 0.3  # of the objective from before the first epoch to the limit
    weight: float = 0.5  # of the distance from the hidden optimum, in the objective
    crossing: float = 0.0  # how much the rate depends on the configuration; 0 keeps the curves in order at every epoch
    noise: float = 0.0  # standard deviation of the objective, per epoch and seed
    late: float = 0.0  # share of configurations that rest at the beginning for a third of their epochs
    landscape: int = 0  # draws the hidden optimum
    _hidden: dict[str, float] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for parameter in self.space.parameters:
            self._hidden[parameter.key] = float(draws({"key": parameter.key}, self.landscape, "optimum").random())

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        own = draws(values, self.landscape, "configuration")
        away = self.distance(values)
        rate = 0.5 + self.crossing * float(own.random())
        resting = self.epochs // 3 if own.random() < self.late else 0
        pace = self.seconds * (1 + self.uneven * float(own.random()))
        epochs = np.maximum(np.arange(1, self.epochs + 1) - resting, 1)
        loss = 0.1 + self.weight * away + self.rise * (1 + self.crossing * (1 - away)) * epochs**-rate
        objective = 1 - loss + self.noise * draws(values, seed, "noise").standard_normal(self.epochs)
        return Curve(tuple({self.metric: float(value)} for value in objective), (pace,) * self.epochs)

    def distance(self, values: Mapping[str, Any]) -> float:
        """From the hidden optimum, between 0 and 1: times `weight`, what the final objective is lowered by."""
        apart = [
            (place(parameter, values[parameter.key]) - self._hidden[parameter.key]) ** 2
            for parameter in self.space.parameters
            if parameter.key in values
        ]
        return math.sqrt(sum(apart) / max(1, len(apart)))


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
