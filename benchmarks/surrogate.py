"""Learning curves for any configuration of a space, from a table of recorded ones.

The recorded curves, smoothed over epochs, are written as their mean and a few components; each coefficient is a
Gaussian process over the space's coordinates (Rasmussen and Williams, 2006, chapter 2). What is random about a run is
never invented: how repeats of one configuration differ from their mean, epoch by epoch, is drawn from those that were
recorded. Without repeats it is what smoothing took away, which leaves out that seeds may differ for good.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.recorded_runs import Floats, RecordedRuns, coordinates
from search_spaces.space import SearchSpace
from ssl_core.errors import DataError
from study.forecast.learning_curve import Curve, draws

LEAST_RUNS = 10
COMPONENTS = 3
SMOOTHING = 1.5
"""Standard deviation of the kernel that smooths over epochs."""
LEAST_REPEATS = 4
"""Runs in groups of repeats from which noise is taken rather than from single runs."""


@dataclass(frozen=True)
class CurveModel:
    """Mean curves over a space.

    Attributes:
        mean: [epochs].
        components: [components, epochs].
        scales: [components], of the coefficients.
        processes: one per component.
    """

    mean: Floats
    components: Floats
    scales: Floats
    processes: tuple[GaussianProcessRegressor, ...]

    def predict(self, points: Floats) -> Floats:
        """[configurations, coordinates] -> [configurations, epochs]."""
        found = np.stack([process.predict(points) for process in self.processes], axis=1) * self.scales
        return np.asarray(self.mean + found @ self.components, dtype=np.float64)


def fit_curves(points: Floats, curves: Floats) -> CurveModel:
    """Fit [runs, coordinates] -> [runs, epochs]."""
    mean = curves.mean(axis=0)
    _, _, components = np.linalg.svd(curves - mean, full_matrices=False)
    components = components[:COMPONENTS]
    coefficients = (curves - mean) @ components.T
    scales = coefficients.std(axis=0) + 1e-12
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(np.ones(points.shape[1]), (0.2, 20.0), nu=2.5)
    processes = []
    with warnings.catch_warnings():
        # a length scale at its bound: the coordinate does not matter
        warnings.simplefilter("ignore")
        for column in range(len(components)):
            process = GaussianProcessRegressor(
                kernel + WhiteKernel(0.1, (1e-3, 2.0)), n_restarts_optimizer=1, random_state=0
            )
            processes.append(process.fit(points, coefficients[:, column] / scales[column]))
    return CurveModel(mean, components, scales, tuple(processes))


def smoothed(curves: Floats) -> Floats:
    """[runs, epochs], each epoch a weighted mean of its neighbours."""
    return np.asarray(gaussian_filter1d(curves, SMOOTHING, axis=1, mode="nearest"), dtype=np.float64)


def noise_curves(table: RecordedRuns, metric: str) -> Floats:
    """[some, epochs]: what seeds did to runs, as differences from the mean of their configuration."""
    curves = table.curves(metric)
    repeated = [rows for rows in table.groups() if len(rows) > 1]
    if sum(map(len, repeated)) < LEAST_REPEATS:
        return curves - smoothed(curves)
    # a mean of n takes 1/n of the variance with it
    parts = [(curves[rows] - curves[rows].mean(axis=0)) * (len(rows) / (len(rows) - 1)) ** 0.5 for rows in repeated]
    return np.concatenate(parts)


class Surrogate:
    """A `CurveSource` over the whole space of a table.

    Args:
        space: of the table.
        table: at least `LEAST_RUNS` runs.
        metric: that is searched by; the others are left out.
        noisy: False gives every seed the mean curve.
    """

    def __init__(self, space: SearchSpace, table: RecordedRuns, metric: str, noisy: bool = True) -> None:
        if len(table.runs) < LEAST_RUNS:
            raise DataError(f"{len(table.runs)} recorded runs are too few for a surrogate; give {LEAST_RUNS} or more")
        self._space, self._metric, self._noisy = space, metric, noisy
        points = np.array([coordinates(space, run.values) for run in table.runs])
        self.model = fit_curves(points, smoothed(table.curves(metric)))
        self.noise = noise_curves(table, metric)
        self._seconds = tuple(np.median([run.seconds for run in table.runs], axis=0).tolist())

    def mean(self, values: Mapping[str, Any]) -> Floats:
        """[epochs] of a configuration, without noise."""
        row: Floats = self.model.predict(coordinates(self._space, values)[None])[0]
        return row

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """See `CurveSource`."""
        found = self.mean(values)
        if self._noisy:
            found = found + self.noise[draws(values, seed, "noise").integers(len(self.noise))]
        return Curve(tuple({self._metric: float(value)} for value in found), self._seconds)


@dataclass(frozen=True)
class LeaveOneOut:
    """How well a surrogate foretells configurations it has not seen.

    Attributes:
        error: root of the mean squared error of the last epochs, in units of the metric.
        spread: the same for foretelling the mean of all.
        rank: Spearman's correlation of foretold and recorded order.
    """

    error: float
    spread: float
    rank: float


def leave_one_out(space: SearchSpace, table: RecordedRuns, metric: str) -> LeaveOneOut:
    """Refit without each configuration in turn."""
    from scipy.stats import spearmanr

    points = np.array([coordinates(space, run.values) for run in table.runs])
    curves = smoothed(table.curves(metric))
    foretold, plain, true = [], [], []
    for rows in table.groups():
        kept = [row for row in range(len(points)) if row not in rows]
        foretold.append(fit_curves(points[kept], curves[kept]).predict(points[rows[:1]])[0, -1])
        plain.append(curves[kept, -1].mean())
        true.append(curves[rows, -1].mean())
    wrong = np.array([foretold, plain]) - np.array(true)
    error, spread = np.sqrt((wrong**2).mean(axis=1))
    return LeaveOneOut(float(error), float(spread), float(spearmanr(foretold, true).statistic))
