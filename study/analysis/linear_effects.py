"""Effects in a linear model whose other parameters may be many: estimates with intervals that hold together.

The effects of interest are not penalised; the others are, as strongly as leaving one row out at a time finds best. So
few rows with many parameters give a plain comparison of means and many rows a full regression. Errors are robust to
rows of unequal noise (HC2: MacKinnon and White, J. Econometrics 1985).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]

LEAST_FREEDOM = 3.0
LEAST_SHARE = 0.4
"""Of the rows that must be left to judge the noise by; a penalty too weak for it is not considered."""
PENALTIES = np.logspace(-3, 4, 15)
"""Per row, for parameters of unit variance: from hardly any to leaving them out."""


@dataclass(frozen=True)
class Effects:
    """What a fit says of each column of interest."""

    estimates: Array  # [g]
    low: Array  # [g]; the intervals cover all true effects together with the given confidence
    high: Array  # [g]


def estimable(design: Array) -> NDArray[np.bool_]:
    """Which columns [n, g] have an effect of their own, given the others and a constant."""
    full = np.column_stack([np.ones(len(design)), design])
    onto = np.linalg.pinv(full) @ full
    return np.asarray(np.abs(onto - np.eye(full.shape[1])).max(axis=0)[1:] < 1e-6)


def robust_effects(design: Array, others: Array, y: Array, interest: int, confidence: float) -> Effects | None:
    """Effects of the first `interest` columns of `design` [n, g] on `y` [n], adjusted for the rest of them and, with a
    penalty, for `others` [n, p] of unit variance.

    None when too few rows are left to judge the noise by.
    """
    n = len(y)
    x = np.column_stack([np.ones(n), design])
    solve = np.linalg.pinv(x)
    within = others - x @ (solve @ others)
    u, s, vt = np.linalg.svd(within, full_matrices=False)
    base = np.einsum("ij,ji->i", x, solve)
    rest = y - x @ (solve @ y)
    best: tuple[float, Array, float, float] | None = None
    for penalty in (PENALTIES * n)[::-1]:
        shrunk = s**2 / (s**2 + penalty)
        leverage = base + np.einsum("ij,j,ij->i", u, shrunk, u)
        freedom = n - float(leverage.sum())
        if freedom < max(LEAST_FREEDOM, LEAST_SHARE * n):
            break
        residual, free = rest - u @ (shrunk * (u.T @ rest)), np.maximum(1 - leverage, 0.05)
        error = float(((residual / free) ** 2).sum())
        if best is None or error < best[0]:
            best = (error, residual**2 / free, penalty, freedom)
    if best is None:
        return None
    _, noise, penalty, kept = best
    # the estimate is linear in y: columns minus what the shrunk others explain of it
    linear = solve @ (np.eye(n) - others @ (vt.T * (s / (s**2 + penalty))) @ u.T)
    # rows of unequal noise, or of equal noise: the more careful of the two
    equal = np.full(n, noise.mean())
    errors = np.sqrt(np.maximum(linear**2 @ noise, linear**2 @ equal))[1 : 1 + interest]
    return _with_intervals((linear @ y)[1 : 1 + interest], errors, kept, confidence)


def plain_effects(design: Array, y: Array, interest: int, confidence: float) -> Effects | None:
    """Least squares with equal noise: effects of the first `interest` columns of `design` [n, g] beside a constant."""
    x = np.column_stack([np.ones(len(y)), design])
    solve = np.linalg.pinv(x)
    freedom = len(y) - int(np.linalg.matrix_rank(x))
    if freedom < LEAST_FREEDOM:
        return None
    beta = solve @ y
    noise = float(((y - x @ beta) ** 2).sum()) / freedom
    errors = np.sqrt(noise * np.einsum("ij,ij->i", solve, solve))[1 : 1 + interest]
    return _with_intervals(beta[1 : 1 + interest], errors, freedom, confidence)


def _with_intervals(estimates: Array, errors: Array, freedom: float, confidence: float) -> Effects:
    """Šidák's level makes the intervals hold for all columns at once."""
    level = confidence ** (1 / max(1, len(estimates)))
    reach = float(stdtrit(freedom, (1 + level) / 2)) * errors
    return Effects(estimates, estimates - reach, estimates + reach)
