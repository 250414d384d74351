"""Made-up landscapes that a real study might meet: what recorded runs have in common, the rest left open.

The figures are those of the 42 recorded runs in benchmarks/curves, by both probes, in standard deviations between the
last epochs of different configurations: curves rise by about 1, seeds and epochs scatter by 0.1 to 0.5, and 11 to 29 %
of the configurations drawn at random are better than the preset, at any epoch. That last figure matters most: a
scheduler compares everybody with the preset, which comes first, and stops more than it would among equals.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from search_spaces.parameter import edges
from search_spaces.space import SearchSpace
from ssl_core.config_roles import epochs_of
from ssl_core.errors import ConfigError
from study.forecast.learning_curve import PowerLaw
from study.spec.study_spec import StudySpec

RISE, SCATTER = (0.5, 1.5), (0.05, 0.45)
"""From the first to the last epoch, and of single epochs, in standard deviations between configurations."""

MOST_BETTER = 0.3
"""Share of the space that may be better than the preset: somebody chose it."""

_CROSSING = (0.0, 0.5)
_POOL, _TRIES = 64, 200
_RATE = 0.5
"""Least rate of `PowerLaw`."""


@dataclass(frozen=True)
class Landscapes:
    """Draws landscapes for one study."""

    space: SearchSpace
    spec: StudySpec
    epochs: int  # of its longest configuration

    def draw(self, number: int, rng: np.random.Generator) -> PowerLaw:
        """Landscape `number`; the same number and state of `rng` give the same one."""
        crossing, rise, scatter = (float(rng.uniform(*ends)) for ends in (_CROSSING, RISE, SCATTER))
        found = PowerLaw(space=self.space, metric=self.spec.metric, epochs=self.epochs, crossing=crossing)
        pool = drawn(self.space, self.spec.seed, _POOL)
        preset = base_values(self.space) if self.spec.first_is_base else None
        for attempt in range(_TRIES):
            found = replace(found, landscape=self.spec.seed + number + 1_000_000 * attempt)
            away = np.array([found.distance(values) for values in pool])
            if preset is None or (away < found.distance(preset)).mean() <= MOST_BETTER:
                break
        spread = found.weight * float(away.std())
        fallen = 1 - max(2, self.epochs) ** -_RATE
        return replace(found, rise=rise * spread / fallen, noise=scatter * spread)


def longest(space: SearchSpace, epochs: int) -> int:
    """Epochs of the longest configuration, if the preset has so many."""
    counted = [parameter for parameter in space.parameters if space.recipes.role(parameter.key) == "epochs"]
    searched = [int(end) for parameter in counted for end in edges(parameter.domain)]
    others = [epochs_of(recipe.config) or 0 for recipe in space.recipes.sections.values() if space.recipes.chooses]
    return max([epochs, *searched, *others])


def drawn(space: SearchSpace, seed: int, count: int) -> list[dict[str, Any]]:
    """Configurations drawn at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [dict(space.suggest(study.ask())) for _ in range(count)]


def base_values(space: SearchSpace) -> dict[str, Any] | None:
    """The base config's values; None where the space does not hold all of them."""
    try:
        return dict(space.replay(space.base_params()))
    except ConfigError:
        return None
