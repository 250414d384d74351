"""What a search has to find: the best configuration of a space, within what seeds do to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from benchmarks.recorded_runs import Floats, NearestRun, RecordedRuns, coordinates
from benchmarks.surrogate import Surrogate, noise_curves, smoothed
from search_spaces.space import SearchSpace
from study.forecast.learning_curve import CurveSource

Values = Mapping[str, Any]
WITHIN = 1.0
"""Standard deviations over seeds that count as noise; docs/LOG.md says when and why it was 2 before."""


@dataclass(frozen=True)
class Problem:
    """A space with learning curves and a known answer.

    Attributes:
        space, curves, metric: what is searched; the metric is maximised.
        epochs: of a whole run.
        best: expected objective of the best configuration: the mean over seeds of the best epoch's metric.
        noise: that seeds make of it: `WITHIN` standard deviations.
        share: of the space that is wanted.
        expected: objective that a configuration has on average.
    """

    space: SearchSpace
    curves: CurveSource
    metric: str
    epochs: int
    best: float
    noise: float
    share: float
    expected: Callable[[Values], float]

    def is_wanted(self, values: Values) -> bool:
        """Whether a configuration is the best within seed noise."""
        return self.expected(values) >= self.best - self.noise


def surrogate_problem(space: SearchSpace, table: RecordedRuns, metric: str, points: int) -> Problem:
    """Over the whole space, by a model of the recorded curves."""
    source = Surrogate(space, table, metric)
    at = np.array([coordinates(space, values) for values in _drawn(space, points)])
    means = source.model.predict(at)

    def objectives(mean: Floats) -> Floats:
        found: Floats = (mean[None] + source.noise).max(axis=1)
        return found

    expected = np.array([objectives(mean).mean() for mean in means])
    top = int(expected.argmax())
    best, noise = float(expected[top]), WITHIN * float(objectives(means[top]).std())
    return Problem(
        space,
        source,
        metric,
        table.epochs,
        best,
        noise,
        share=float((expected >= best - noise).mean()),
        expected=lambda values: float(objectives(source.mean(values)).mean()),
    )


def recorded_problem(space: SearchSpace, table: RecordedRuns, metric: str, points: int) -> Problem:
    """Over the recorded configurations alone: each suggestion is the nearest of them."""
    source = NearestRun(space, table)
    curves = table.curves(metric).max(axis=1)
    of_row = {row: float(curves[rows].mean()) for rows in table.groups() for row in rows}
    top = max(of_row, key=lambda row: of_row[row])
    mean = smoothed(table.curves(metric))[top]
    noise = WITHIN * float((mean + noise_curves(table, metric)).max(axis=1).std())
    wanted = [of_row[source.row(values, 0)] >= of_row[top] - noise for values in _drawn(space, points // 10)]
    return Problem(
        space,
        source,
        metric,
        table.epochs,
        of_row[top],
        noise,
        share=float(np.mean(wanted)),
        expected=lambda values: of_row[source.row(values, 0)],
    )


def _drawn(space: SearchSpace, points: int) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(points)]
