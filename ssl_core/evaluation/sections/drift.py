"""Drift under re-sampling: how far features of two point draws of one object lie apart, beside those of two objects.

0: an encoder that does not notice which points stood for the object; 1: it tells draws apart as much as objects.
Nothing is computed for it: the draws are those that the probes read. Images have none, as every view is a picture of
its own.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.probes import Features, unit
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.statistics import Interval, bootstrap_mean
from ssl_core.evaluation.task_contract import Found, LeftOutError, Section, Subject
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard


class DriftSettings(Config):
    """There is nothing to choose."""


class Drift(Config):
    """Of test objects; intervals are bootstraps over them."""

    distance: Interval
    """of two draws of an object, over the mean distance of two objects"""
    same_cosine: Interval
    """mean cosine of two draws of an object"""
    other_cosine: float
    """mean cosine of two objects"""


def drift(draws: list[Features], confidence: float = 0.95) -> Drift:
    """Of features [n, F] of at least two draws of at least two objects.

    Raises InfeasibleError: all objects have the same features.
    """
    assert len(draws) > 1, "one draw does not drift"
    pairs = list(combinations(draws, 2))
    own = np.mean([_distances(a, b) for a, b in pairs], axis=0)  # [n]
    others = float(np.mean([_between(x) for x in draws]))
    if others == 0.0:
        raise InfeasibleError("all objects have the same features")
    cosines = np.mean([(unit(a) * unit(b)).sum(axis=1) for a, b in pairs], axis=0)
    return Drift(
        distance=bootstrap_mean(own / others, confidence=confidence),
        same_cosine=bootstrap_mean(cosines, confidence=confidence),
        other_cosine=float(np.mean([_cosine_between(x) for x in draws])),
    )


def _distances(a: Features, b: Features) -> NDArray[np.float64]:
    """[n] row by row."""
    found: NDArray[np.float64] = np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1)
    return found


def _between(x: Features) -> float:
    """Mean distance of two different rows."""
    wide = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    squares = (wide**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * wide @ wide.T, 0.0))
    np.fill_diagonal(apart, 0.0)
    return float(apart.sum() / (len(x) * (len(x) - 1)))


def _cosine_between(x: Features) -> float:
    """Mean cosine of two different rows."""
    directions = unit(x)
    total = directions.sum(axis=0)
    return float((total @ total - (directions**2).sum()) / (len(x) * (len(x) - 1)))


def _measure(subject: Subject, settings: DriftSettings, found: Found) -> Drift | None:
    match subject.card:
        case PointEncoderCard():
            draws = [draw[len(subject.labels.train) :] for draw in subject.raw.points]
            if len(draws) < 2 or len(draws[0]) < 2:
                raise LeftOutError("it needs two point draws of two test objects")
            return drift(draws, subject.config.confidence)
        case ImageEncoderCard():
            return None


def _table(found: Drift) -> Table:
    heads = ["two draws of an object over two objects, distance", "cosine of two draws", "cosine of two objects"]
    distance, same = found.distance, found.same_cosine
    cells = [f"{distance.mean:.3f} ± {distance.half_width:.3f}", f"{same.mean:.3f} ± {same.half_width:.3f}"]
    return "Drift under re-sampling", heads, [[*cells, f"{found.other_cosine:.3f}"]]


def _metrics(found: Drift) -> dict[str, float]:
    means = {"distance": found.distance.mean, "same_cosine": found.same_cosine.mean}
    return {f"drift/{name}": value for name, value in {**means, "other_cosine": found.other_cosine}.items()}


DRIFT = Section("drift", lambda settings: 1, _measure, _table, _metrics)
