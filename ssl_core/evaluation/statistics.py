"""Intervals: no number that decides goes without one.

Three sources of variation meet in a probe accuracy: which labels were drawn, which test objects there are,
and which random points stood for an object. `mean_interval` and `paired_difference` speak of draws (Student's
t); `paired_bootstrap` of test objects, or of draws and test objects together. Comparisons are always paired
(same labels, same test objects): the shared part of the noise, about five points at five labels per class,
cancels.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import field_serializer
from scipy import stats

from ssl_core.config import Config

RESAMPLES = 4000


class Interval(Config):
    """A mean with its confidence interval, in the unit of the values.

    One value says nothing about spread: its interval is infinite, written as the strings "Infinity" in JSON.
    """

    @field_serializer("mean", "low", "high", "se", when_used="json")
    def _as_json(self, value: float) -> float | str:
        return value if np.isfinite(value) else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")

    mean: float
    low: float
    high: float
    se: float
    """standard error of the mean"""
    n: int
    """values behind the mean"""
    confidence: float = 0.95

    @property
    def half_width(self) -> float:
        """Half the width: what stands behind ±."""
        return (self.high - self.low) / 2

    def percent(self, *, signed: bool = False) -> str:
        """For people: `72.0 ± 1.8`, or `+4.9 ± 1.1` if signed; an infinite interval is left out."""
        mean = in_percent(self.mean, signed=signed)
        return f"{mean} ± {in_percent(self.half_width)}" if np.isfinite(self.half_width) else mean


def in_percent(share: float, *, signed: bool = False) -> str:
    """A share, or a difference of two, in percent with one decimal: the one rule by which all texts round.

    Halves go away from zero, and what an order of summation, or storing shares with six decimals, leaves in the last
    digits does not count, so a mean of means and the mean of stored values say the same: 0.5275 is 52.8, and so is
    0.52749992.
    """
    if not np.isfinite(share):
        return f"{share:+}" if signed else f"{share}"
    rounded = Decimal(repr(round(100 * float(share), 4))).quantize(Decimal("0.1"), ROUND_HALF_UP)
    rounded = rounded if rounded else Decimal("0.0")  # no -0.0
    return f"{rounded:+}" if signed else f"{rounded}"


def mean_interval(values: ArrayLike | Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of `values [n]` with Student's t interval (n - 1 degrees of freedom)."""
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    assert x.size > 0, "an interval needs at least one value"
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean=mean, low=-np.inf, high=np.inf, se=np.inf, n=1, confidence=confidence)
    se = float(x.std(ddof=1) / np.sqrt(x.size))
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1)) * se
    return Interval(mean=mean, low=mean - half, high=mean + half, se=se, n=int(x.size), confidence=confidence)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the mean of `a - b`; the two are paired element by element (labels, test objects)."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert left.shape == right.shape, f"paired values need equal shapes, got {left.shape} and {right.shape}"
    return mean_interval(left - right, confidence)


def paired_bootstrap(
    correct_a: ArrayLike, correct_b: ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile interval of mean(a) - mean(b) under resampling.

    Args:
        correct_a: `[objects]` or `[draws, objects]`: 1 where the probe was right (or a mean of such).
        correct_b: same shape, the other encoder on the same draws and objects.
        seed: of the resampling; the same input gives the same interval.

    One dimension: objects are resampled. Two: draws and objects are resampled independently of each other and
    crossed (Owen, "The pigeonhole bootstrap", 2007), which errs on the wide side.
    """
    left, right = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    assert left.shape == right.shape, f"paired values need equal shapes, got {left.shape} and {right.shape}"
    assert left.size > 0, "no test objects"
    assert left.ndim in (1, 2), "[objects] or [draws, objects]"
    difference = np.atleast_2d(left - right)  # [R, N]
    R, N = difference.shape
    rng = np.random.default_rng(seed)
    replicates = np.empty(resamples)
    # in blocks: 4000 replicates × 2468 objects of weights at once would be 80 MB
    for start in range(0, resamples, 500):
        count = min(500, resamples - start)
        rows = _weights(rng, count, R) if R > 1 else np.ones((count, 1))
        columns = _weights(rng, count, N)
        replicates[start : start + count] = ((rows @ difference) * columns).sum(axis=1) / (R * N)
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(
        mean=float(difference.mean()),
        low=float(low),
        high=float(high),
        se=float(replicates.std(ddof=1)),
        n=N,
        confidence=confidence,
    )


def paired_intervals(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> tuple[Interval, Interval, Interval]:
    """Of the means of `a`, `b` and `a - b`, [draws, objects] each: over draws, or over objects where there is one draw.

    Over draws the intervals are Student's, over objects bootstraps.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(left) > 1:
        x, y = left.mean(axis=1), right.mean(axis=1)
        return mean_interval(x, confidence), mean_interval(y, confidence), paired_difference(x, y, confidence)
    return (
        bootstrap_mean(left[0], confidence=confidence),
        bootstrap_mean(right[0], confidence=confidence),
        paired_bootstrap(left[0], right[0], confidence=confidence),
    )


def bootstrap_mean(correct: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interval of an accuracy over resampled test objects; `correct` as in `paired_bootstrap`."""
    values = np.asarray(correct, dtype=np.float64)
    return paired_bootstrap(values, np.zeros_like(values), confidence=confidence, seed=seed)


def _weights(rng: np.random.Generator, count: int, n: int) -> NDArray[np.float64]:
    """[count, n]: how often each of n things is drawn in n draws with replacement."""
    return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)
