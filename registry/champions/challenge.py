"""Several challengers of one champion, tested together: paired bootstrap bounds at Holm's levels.

Each challenger alone would be allowed a chance of 2.5 % to win by luck; of fifty equal ones, one would. Holm (1979, "A
simple sequentially rejective multiple test procedure") keeps the chance for all of them together: the strongest is
tested at alpha / m, the next at alpha / (m - 1), and so on until one fails.

How a test is made: challenger and champion answer the same test objects under the same label draws. Draws and objects
are resampled (`ssl_core.evaluation.statistics.paired_bootstrap`), and the challenger passes at a level where that
quantile of the resampled differences lies above the margin. The p-value, which orders challengers and is
kept for those who come later, is that of the normal distribution with the bootstrap's standard error.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from ssl_core.evaluation.statistics import RESAMPLES, Interval, paired_bootstrap

Answers = Sequence[Sequence[float]]
"""[label draws][test objects]: 1 where the probe was right, or a mean of such"""
K = TypeVar("K", bound=Hashable)
MOST_RESAMPLES = 40_000
_BEYOND = 40
"""replicates that should lie beyond a quantile for it to be known well"""


@dataclass(frozen=True)
class Challenge:
    """One challenger's test.

    interval: of the difference, at the usual confidence. p: one-sided, that the difference is at most the margin.
    level: at which it was tested. bound: the lower bound at that level, or the usual one where that is too low already.
    family: how many challengers share alpha.
    """

    interval: Interval
    p: float
    level: float
    bound: float
    family: int
    passed: bool

    def numbers(self) -> dict[str, float]:
        """For `Decision.numbers`."""
        return {
            "p": float(f"{self.p:.3g}"),
            "level": round(self.level, 8),
            "bound": round(self.bound, 6),
            "challengers": float(self.family),
        }


def challenge_all(
    pairs: Mapping[K, tuple[Answers, Answers]], margin: float, confidence: float, earlier: Sequence[float] = ()
) -> dict[K, Challenge]:
    """Test every challenger; (its answers, the champion's) by key.

    Args:
        margin: by which it has to be better, in [0, 1).
        confidence: two-sided; alpha is half of the rest.
        earlier: p-values of further members of the family, who failed before.
    """
    alpha, family = (1 - confidence) / 2, len(pairs) + len(earlier)
    intervals = {key: paired(*pair, confidence) for key, pair in pairs.items()}
    p_values = {key: p_value(interval, margin) for key, interval in intervals.items()}
    queue: list[tuple[float, K | None]] = [(p, None) for p in earlier]
    queue += [(p, key) for key, p in p_values.items()]
    tried: dict[K, Challenge] = {}
    stopped = False
    for rank, (p, key) in enumerate(sorted(queue, key=lambda member: member[0])):
        level = alpha / (family - rank)
        if key is None:
            stopped = stopped or p > level
            continue
        interval = intervals[key]
        # who fails at the usual bound fails at a lower one too, and resampling takes time
        needed = level < alpha and interval.low > margin and not stopped
        bound = lower_bound(*pairs[key], level) if needed else interval.low
        passed = not stopped and bound > margin
        stopped = not passed
        tried[key] = Challenge(interval, p, level, bound, family, passed)
    return {key: tried[key] for key in pairs}


def p_value(interval: Interval, margin: float) -> float:
    """One-sided, by the normal distribution: how likely a difference so large is if the truth is the margin."""
    gap = interval.mean - margin
    if not np.isfinite(interval.se) or interval.se == 0.0:
        # no spread at all: the two differ everywhere by the same, or nowhere
        return 0.0 if interval.se == 0.0 and gap > 0 else 1.0
    return float(stats.norm.sf(gap / interval.se))


def lower_bound(mine: Answers, theirs: Answers, level: float) -> float:
    """The `level` quantile of the resampled difference; more replicates the rarer it is."""
    resamples = int(np.clip(np.ceil(_BEYOND / level), RESAMPLES, MOST_RESAMPLES))
    return paired(mine, theirs, 1 - 2 * level, resamples).low


def paired(mine: Answers, theirs: Answers, confidence: float, resamples: int = RESAMPLES) -> Interval:
    """Interval of the difference, mine minus theirs."""
    left, right = np.array(mine), np.array(theirs)
    # one label draw only (all labels): there are no draws to resample, only objects
    if len(left) == 1:
        left, right = left[0], right[0]
    return paired_bootstrap(left, right, confidence=confidence, resamples=resamples)
