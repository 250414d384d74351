"""Seconds per epoch of any configuration, from those of a few: Bayesian regression on logarithms.

Few measurements and many parameters leave most coefficients unknown. A draw from what is left open gives one guess at
all of them; many draws give the range of everything that follows from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.forecast.columns import Row

_BELIEFS = {0.05: 0.5, 0.15: 1.0, 0.4: 1.0, 1.0: 1.0}
"""Strength of all effects, as a factor on the scales of the columns -> how likely that is beforehand."""

_NOISES = {0.03: 1.0, 0.06: 2.0, 0.12: 2.0, 0.25: 1.0, 0.5: 0.3}
"""Standard deviation of the logarithm of a trial's seconds per epoch -> how likely that is beforehand."""


@dataclass(frozen=True)
class Guess:
    """All coefficients of `Columns`, and how much single trials scatter around them."""

    coefficients: Row
    noise: float

    def seconds(self, row: Row) -> float:
        """Per epoch of a configuration, before scatter."""
        return float(np.exp(row @ self.coefficients))


@dataclass(frozen=True)
class _Posterior:
    weight: float
    mean: Row
    covariance: NDArray[np.float64]
    noise: float


@dataclass(frozen=True)
class Pace:
    """What the measured configurations leave open: a mixture over how strong effects and noise may be."""

    parts: tuple[_Posterior, ...]

    def draw(self, rng: np.random.Generator) -> Guess:
        """One guess."""
        weights = np.array([part.weight for part in self.parts])
        part = self.parts[int(rng.choice(len(weights), p=weights / weights.sum()))]
        return Guess(rng.multivariate_normal(part.mean, part.covariance, method="eigh"), part.noise)


def fit_pace(rows: Row, seconds: Sequence[float], scales: Row) -> Pace:
    """From measured configurations [N, C] and their seconds per epoch.

    Raises:
        ValueError: nothing was measured.
    """
    if not len(seconds):
        raise ValueError("nothing was measured; give at least one configuration")
    logs = np.log(np.asarray(seconds, dtype=np.float64))
    pairs = [(belief, noise) for belief in _BELIEFS for noise in _NOISES]
    found = [_posterior(rows, logs, scales, belief, noise) for belief, noise in pairs]
    best = max(likelihood for likelihood, *_ in found)
    return Pace(
        tuple(
            _Posterior(float(np.exp(likelihood - best)) * _BELIEFS[belief] * _NOISES[noise], mean, covariance, noise)
            for (belief, noise), (likelihood, mean, covariance) in zip(pairs, found, strict=True)
        )
    )


def _posterior(
    rows: Row, logs: Row, scales: Row, belief: float, noise: float
) -> tuple[float, Row, NDArray[np.float64]]:
    """(log likelihood of the measurements, mean, covariance) under one strength of effects and noise."""
    factors = np.full_like(scales, belief)
    factors[0] = 1.0  # the constant is open, however weak effects are
    prior = np.diag((scales * factors) ** 2)
    measured = rows @ prior @ rows.T + noise**2 * np.eye(len(logs))
    centre = logs.mean()
    solved = np.linalg.solve(measured, np.column_stack([logs - centre, rows @ prior]))
    mean = prior @ rows.T @ solved[:, 0]
    mean[0] += centre
    likelihood = -0.5 * float((logs - centre) @ solved[:, 0] + np.linalg.slogdet(measured)[1])
    return likelihood, mean, prior - prior @ rows.T @ solved[:, 1:]


def spread_out(pool: Row, count: int, scales: Row) -> list[int]:
    """Positions in the pool [N, C] of `count` configurations that tell most about all others, the first in any case.

    One after the other, each is the one whose cost is most uncertain after the ones before.
    """
    covariance, noise = np.diag(scales**2), 0.1
    chosen: list[int] = []
    while len(chosen) < min(count, len(pool)):
        doubt = np.einsum("nc,cd,nd->n", pool, covariance, pool)
        doubt[chosen] = -np.inf
        position = int(np.argmax(doubt)) if chosen else 0
        row = pool[position]
        seen = covariance @ row
        covariance = covariance - np.outer(seen, seen) / (row @ seen + noise**2)
        chosen.append(position)
    return chosen
