"""How much better one kind of dense features is than another, with intervals that know of scenes.

Views of one scene show the same things, so they are no independent units: scenes are resampled with replacement, then
the views of each (a two-stage bootstrap, Davison & Hinkley 1997, section 3.8). Of one scene, its views alone are.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.evaluation.dense_answers import DenseAnswer
from ssl_core.evaluation.dense_metrics import Counts, mean_iou
from ssl_core.evaluation.statistics import Interval

RESAMPLES = 1000


def iou_gain(mine: DenseAnswer, other: DenseAnswer, scenes: NDArray[np.int64], confidence: float) -> Interval | None:
    """Of mIoU over all pixels, mean over the seeds of the probes; None without labels."""
    if mine.counts is None or other.counts is None:
        return None
    weights = _resampled(scenes)
    values = _ious(mine.counts, weights) - _ious(other.counts, weights)
    return _interval(values, len(np.unique(scenes)), confidence)


def depth_gain(mine: DenseAnswer, other: DenseAnswer, scenes: NDArray[np.int64], confidence: float) -> Interval | None:
    """By how much the RMSE, a mean over views, is lower; None without depth."""
    if "rmse" not in mine.depth or "rmse" not in other.depth:
        return None
    difference = (other.depth["rmse"] - mine.depth["rmse"]).mean(axis=0)
    known = ~np.isnan(difference)
    weights = _resampled(scenes)[:, known]
    values = weights @ difference[known] / np.maximum(weights.sum(axis=1), 1)
    return _interval(values, len(np.unique(scenes)), confidence)


def _ious(counts: Counts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[resamples]."""
    seeds, views, classes, _ = counts.shape
    found = []
    for one in counts.reshape(seeds, views, -1):
        found.append(mean_iou((weights @ one).astype(np.int64).reshape(-1, classes, classes)))
    return np.asarray(np.mean(found, axis=0))


def _resampled(scenes: NDArray[np.int64]) -> NDArray[np.float64]:
    """[1 + resamples, views] how often each view is drawn; the first row is the sample itself."""
    generator, kinds = np.random.default_rng(0), np.unique(scenes)
    weights = np.zeros((1 + RESAMPLES, len(scenes)))
    weights[0] = 1
    for row in weights[1:]:
        for scene in generator.choice(kinds, size=len(kinds)):
            views = np.flatnonzero(scenes == scene)
            np.add.at(row, generator.choice(views, size=len(views)), 1)
    return weights


def _interval(values: NDArray[np.float64], units: int, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail])
    return Interval(
        mean=float(values[0]),
        low=float(low),
        high=float(high),
        se=float(values[1:].std(ddof=1)),
        n=units,
        confidence=confidence,
    )
