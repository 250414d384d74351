"""The gate: a pure function from reports to decisions with reasons. Nothing is promoted by luck.

A champion is better beyond what chance explains than the strongest baseline of its own report, and than the champion
before it: the lower confidence bound of each paired difference has to exceed the margin. Both sides answer the same
test objects under the same label draws, and draws and objects are resampled
(`ssl_core.evaluation.statistics.paired_bootstrap`). Without such a candidate nobody is champion.

Candidates that are judged together share one chance of error. Alone, each would have a chance of 2.5 % to win by luck;
of fifty equal ones, one would win. Holm (1979, "A simple sequentially rejective multiple test procedure") bounds the
chance for all of them together: the strongest is tested at alpha / m, the next at alpha / (m - 1), and so on until one
fails. A challenger passes at a level where that quantile of the resampled differences lies above the margin. The
p-value, which orders challengers, is that of the normal distribution with the bootstrap's standard error.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydantic import Field
from scipy import stats

from registry.versions.records import Decision
from ssl_core.config import Config
from ssl_core.evaluation.report import Report, Scores, ScoreScale, scale_of
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


class GateConfig(Config):
    """Thresholds, in the unit of the scores: for accuracies, a margin of one point is 0.01."""

    margin: float = Field(default=0.0, ge=0.0, lt=1.0)
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="two-sided; half of the rest is the chance of a false promotion"
    )

    @property
    def alpha(self) -> float:
        """Chance that any of a champion's challengers, all no better than it, takes its place."""
        return (1 - self.confidence) / 2


def decide(
    candidate: Report,
    incumbent: Report | None,
    config: GateConfig = GateConfig(),
    *,
    earlier: Sequence[float] = (),
) -> Decision:
    """Whether the candidate becomes champion, and why: `decide_many` of one."""
    return decide_many([candidate], incumbent, config, earlier=earlier)[0]


def decide_many(
    candidates: Sequence[Report],
    incumbent: Report | None,
    config: GateConfig = GateConfig(),
    *,
    names: Sequence[str] = (),
    earlier: Sequence[float] = (),
) -> list[Decision]:
    """Decide which of several candidates becomes champion: a decision for each, at most one says `promoted`.

    Of those shown to be better than the incumbent and than their own baselines the one with the largest difference is
    promoted. Without an incumbent the first that is better than its baseline stands for it, so the order must not come
    from the test objects.

    Args:
        incumbent: the champion's evaluation under the same protocol on the same pack; None if there is no champion.
        names: of the candidates, for the reasons.
        earlier: p-values (`Decision.numbers["p"]`) of challengers that the incumbent withstood, of the same family.
    """
    names = list(names) or [f"candidate {i + 1}" for i in range(len(candidates))]
    refusals = {i: reason for i, report in enumerate(candidates) if (reason := unfit(report)) is not None}
    fit = {i: report for i, report in enumerate(candidates) if i not in refusals}
    found = {i: Decision(promoted=False, reason=reason) for i, reason in refusals.items()}
    if incumbent is None:
        found |= _first(fit, names, config)
    elif incumbent.deciding is None:
        found |= _first(fit, names, config, "the champion's own evaluation has no result (its features are not finite)")
    else:
        other = {i for i, report in fit.items() if not report.comparable(incumbent)}
        reason = "the champion was evaluated by another protocol or on other data; evaluate it on this one"
        found |= {i: Decision(promoted=False, reason=reason) for i in other}
        same = {i: report for i, report in fit.items() if i not in other}
        found |= _against(same, incumbent, names, config, earlier)
    return [found[i] for i in range(len(candidates))]


def unfit(report: Report) -> str | None:
    """Why a model cannot be considered at all; None if it can."""
    if report.defects:
        return report.defects[0]
    if report.deciding is None:
        return "incomplete: the evaluation has no result for the deciding probe; run it again"
    return None


def _first(
    fit: dict[int, Report], names: Sequence[str], config: GateConfig, preface: str = "first champion"
) -> dict[int, Decision]:
    """No champion yet: the first that is better than its baseline, unless a later one is shown to be better still."""
    pairs = {i: (_deciding(report).values, report.baseline.values) for i, report in fit.items() if report.baseline}
    tried = challenge_all(pairs, config.margin, config.confidence)
    found = {i: _beside_baseline(report, tried.get(i), config, preface) for i, report in fit.items()}
    able = [i for i, decision in found.items() if decision.promoted]
    if len(able) < 2:
        return found
    first, rest = able[0], able[1:]
    others = _against({i: fit[i] for i in rest}, fit[first], names, config, (), names[first])
    found |= others
    winner = next((i for i, decision in others.items() if decision.promoted), None)
    if winner is not None:
        reason = f"{names[winner]} was shown to be better; {found[first].reason}"
        found[first] = found[first].model_copy(update={"promoted": False, "reason": reason})
        won = others[winner]
        found[winner] = won.model_copy(update={"reason": f"{preface}, {won.reason}"})
    return found


def _beside_baseline(report: Report, tried: Challenge | None, config: GateConfig, preface: str) -> Decision:
    """Whether it was shown to be better than its baseline; without one, by its protocol, it has nothing to beat."""
    scores, called = _deciding(report), report.baseline_name
    scale = scale_of(scores.measure)
    text = f"{scores.name} {scale.level(scores.mean)}"
    numbers: dict[str, float] = {scores.measure: scores.mean}
    if tried is None or report.baseline is None:
        reason = f"{preface}: {text}; there is no baseline to compare with"
        return Decision(promoted=True, reason=reason, numbers=numbers)
    # without `p`: it would enter the family of those who challenged a champion
    numbers |= {"baseline": report.baseline.mean, **_numbers(tried.interval), "bound": round(tried.bound, 6)}
    text += f", {scale.difference(tried.interval)} against the {called}"
    if tried.passed:
        return Decision(promoted=True, reason=f"{preface}: {text}", numbers=numbers)
    found = "worse than" if tried.interval.high < 0 else "not shown to be better than"
    reason = f"{found} the {called}: {text}; {_asked(tried, config, scale)}"
    return Decision(promoted=False, reason=reason, numbers=numbers, kept=True)


def _above_baseline(report: Report, config: GateConfig) -> bool:
    """By the lower bound; true where there is no baseline."""
    mine, theirs = _deciding(report), report.baseline
    return theirs is None or paired(mine.values, theirs.values, config.confidence).low > config.margin


def _deciding(report: Report) -> Scores:
    assert report.deciding is not None, "unfit reports are refused before"
    return report.deciding


def _against(
    same: dict[int, Report],
    incumbent: Report,
    names: Sequence[str],
    config: GateConfig,
    earlier: Sequence[float],
    rival: str = "the champion",
) -> dict[int, Decision]:
    champion = _deciding(incumbent)
    pairs = {i: (_deciding(report).values, champion.values) for i, report in same.items()}
    tried = challenge_all(pairs, config.margin, config.confidence, earlier)
    better = [i for i, challenge in tried.items() if challenge.passed]
    able = [i for i in better if _above_baseline(same[i], config)]
    winner = max(able, key=lambda i: (tried[i].interval.mean, -i), default=None)
    found = {}
    for i, challenge in tried.items():
        scores = _deciding(same[i])
        scale = scale_of(scores.measure)
        if i == winner:
            verdict = f"better than {rival}"
        elif i in better and i not in able:
            verdict = f"better than {rival}, but not shown to be better than the {same[i].baseline_name}"
        elif i in better:
            verdict = f"better than {rival}, but {names[winner or 0]} is better still"
        else:
            verdict = f"not shown to be better than {rival}"
        text = (
            f"{scores.name} {scale.level(scores.mean)} against {scale.level(champion.mean)}, "
            f"{scale.difference(challenge.interval)}; {_asked(challenge, config, scale)}"
        )
        levels: dict[str, float] = {scores.measure: round(scores.mean, 6), "incumbent": round(champion.mean, 6)}
        numbers = {**levels, **_numbers(challenge.interval), **challenge.numbers()}
        found[i] = Decision(promoted=i == winner, reason=f"{verdict}: {text}", numbers=numbers)
    return found


def _asked(challenge: Challenge, config: GateConfig, scale: ScoreScale) -> str:
    """What the lower bound had to be, and at which level it was taken."""
    margin = f"{scale.factor * config.margin:g}"
    if challenge.bound == challenge.interval.low:
        return f"the lower bound has to exceed {margin}"
    return (
        f"of {challenge.family} challengers, so that the lower bound is taken at {100 * (1 - challenge.level):.4g} % "
        f"(Holm): {scale.change(challenge.bound)}, and has to exceed {margin}"
    )


def _numbers(interval: Interval) -> dict[str, float]:
    found = {"difference": interval.mean, "low": interval.low, "high": interval.high, "se": interval.se}
    return {name: round(value, 6) for name, value in found.items()}


def challenge_all(
    pairs: Mapping[K, tuple[Answers, Answers]], margin: float, confidence: float, earlier: Sequence[float] = ()
) -> dict[K, Challenge]:
    """Test every challenger; `pairs` holds (its answers, the champion's) by key.

    `confidence` is two-sided: alpha is half of the rest. `earlier` are p-values of members of the family who failed.
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
