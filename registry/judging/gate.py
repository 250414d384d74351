"""The gate: a pure function from reports to decisions with reasons. Nothing is promoted by luck.

Against an incumbent, a candidate must be better beyond what chance explains: the lower confidence bound of
the paired difference (same label draws, same test objects, both resampled) has to exceed the margin. Who challenges
the same champion shares one chance of error: the bound is taken at Holm's level for the number of challengers.
Without a champion, a candidate must not be worse than its own random twin.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from registry.evaluation.reports import EvaluationReport
from registry.judging.challenge import Challenge, challenge_all, paired
from registry.versions.records import Decision
from ssl_core.config import Config
from ssl_core.evaluation.statistics import Interval, in_percent


class GateConfig(Config):
    """Thresholds. Accuracies are in [0, 1]: a margin of one point is 0.01."""

    margin: float = Field(default=0.0, ge=0.0, lt=1.0)
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="two-sided; half of the rest is the chance of a false promotion"
    )
    min_relative_std: float = Field(default=1e-3, ge=0.0, description="below: all objects look alike")
    min_effective_rank: float = Field(default=1.5, ge=0.0, description="below: one direction is left")

    @property
    def alpha(self) -> float:
        """Chance that any of a champion's challengers, all no better than it, takes its place."""
        return (1 - self.confidence) / 2


def decide(
    candidate: EvaluationReport,
    incumbent: EvaluationReport | None,
    config: GateConfig = GateConfig(),
    *,
    earlier: Sequence[float] = (),
) -> Decision:
    """Whether the candidate becomes champion, and why: `decide_many` of one."""
    return decide_many([candidate], incumbent, config, earlier=earlier)[0]


def decide_many(
    candidates: Sequence[EvaluationReport],
    incumbent: EvaluationReport | None,
    config: GateConfig = GateConfig(),
    *,
    names: Sequence[str] = (),
    earlier: Sequence[float] = (),
) -> list[Decision]:
    """Which of several candidates becomes champion, if any, and why. At most one decision says `promoted`.

    Of those shown to be better than the incumbent (Holm 1979, one-sided, all together at most `config.alpha`) the one
    with the largest difference is promoted. Without an incumbent the first fit candidate stands for it, so the order
    must not come from the test objects.

    Args:
        candidates: their evaluations.
        incumbent: the champion's evaluation under the same protocol on the same pack; None if there is no champion.
        config: thresholds.
        names: of the candidates, for the reasons.
        earlier: p-values of challengers that the incumbent withstood before (`Decision.numbers["p"]`): they belong to
            the same family.

    Returns:
        A decision per candidate, in their order.
    """
    names = list(names) or [f"candidate {i + 1}" for i in range(len(candidates))]
    refusals = {i: reason for i, report in enumerate(candidates) if (reason := unfit(report, config)) is not None}
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


def unfit(report: EvaluationReport, config: GateConfig = GateConfig()) -> str | None:
    """Why an encoder cannot be considered at all; None if it can."""
    health = report.health
    if not health.finite:
        return "collapsed: features hold NaN or infinity"
    if report.deciding is None or report.headline is None or report.full_labels is None:
        return "incomplete: the evaluation has no result for the deciding probe; run it again"
    if health.relative_std < config.min_relative_std:
        return (
            f"collapsed: features hardly differ between objects (relative spread {health.relative_std:.1e}, "
            f"at least {config.min_relative_std:g} is asked)"
        )
    if health.effective_rank < config.min_effective_rank:
        return (
            f"collapsed: effective rank of the features is {health.effective_rank:.2f}, "
            f"at least {config.min_effective_rank:g} is asked"
        )
    full = float(np.mean(report.full_labels.encoder))
    if full <= health.constant_accuracy and len(report.class_names) > 1:
        return (
            f"collapsed: with the most labels the probe reaches {in_percent(full)} %, "
            f"a constant answer {in_percent(health.constant_accuracy)} %"
        )
    return None


def _first(
    fit: dict[int, EvaluationReport], names: Sequence[str], config: GateConfig, preface: str = "first champion"
) -> dict[int, Decision]:
    """No champion yet: the first that is not worse than its twin, unless a later one is shown to be better than it."""
    found = {i: _beside_twin(report, config, preface) for i, report in fit.items()}
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


def _beside_twin(report: EvaluationReport, config: GateConfig, preface: str) -> Decision:
    """Not significantly worse than the random twin is enough."""
    deciding = report.deciding
    assert deciding is not None
    name = f"linear SVM at {deciding.labels} labels"
    accuracy = float(np.mean(deciding.encoder))
    if deciding.twin is None:
        return Decision(
            promoted=True,
            reason=f"{preface}: {name} {in_percent(accuracy)} %; there is no random twin to compare with",
            numbers={"accuracy": accuracy},
        )
    interval = paired(deciding.encoder, deciding.twin, config.confidence)
    numbers = {"accuracy": accuracy, "twin": float(np.mean(deciding.twin)), **_numbers(interval)}
    text = f"{name} {in_percent(accuracy)} %, {points(interval)} against its random twin"
    if interval.high < 0:
        return Decision(promoted=False, reason=f"worse than its random twin: {text}", numbers=numbers)
    if interval.low > 0:
        return Decision(promoted=True, reason=f"{preface}: {text}", numbers=numbers)
    return Decision(promoted=True, reason=f"{preface}, no better than chance explains: {text}", numbers=numbers)


def _against(
    same: dict[int, EvaluationReport],
    incumbent: EvaluationReport,
    names: Sequence[str],
    config: GateConfig,
    earlier: Sequence[float],
    rival: str = "the champion",
) -> dict[int, Decision]:
    pairs = {i: (report.deciding.encoder, incumbent.deciding.encoder) for i, report in same.items()
             if report.deciding is not None and incumbent.deciding is not None}  # fmt: skip
    tried = challenge_all(pairs, config.margin, config.confidence, earlier)
    better = [i for i, challenge in tried.items() if challenge.passed]
    winner = max(better, key=lambda i: (tried[i].interval.mean, -i), default=None)
    found = {}
    for i, challenge in tried.items():
        accuracy, champion = (float(np.mean(side)) for side in pairs[i])
        if i == winner:
            verdict = f"better than {rival}"
        elif i in better:
            verdict = f"better than {rival}, but {names[winner or 0]} is better still"
        else:
            verdict = f"not shown to be better than {rival}"
        deciding = same[i].deciding
        assert deciding is not None
        text = (
            f"linear SVM at {deciding.labels} labels {in_percent(accuracy)} % against {in_percent(champion)} %, "
            f"{points(challenge.interval)}; {_asked(challenge, config)}"
        )
        own = {"accuracy": round(accuracy, 6), "incumbent": round(champion, 6), **_numbers(challenge.interval)}
        found[i] = Decision(promoted=i == winner, reason=f"{verdict}: {text}", numbers={**own, **challenge.numbers()})
    return found


def _asked(challenge: Challenge, config: GateConfig) -> str:
    """What the lower bound had to be, and at which level it was taken."""
    if challenge.bound == challenge.interval.low:
        return f"the lower bound has to exceed {100 * config.margin:g}"
    return (
        f"of {challenge.family} challengers, so that the lower bound is taken at {100 * (1 - challenge.level):.4g} % "
        f"(Holm): {in_percent(challenge.bound, signed=True)}, and has to exceed {100 * config.margin:g}"
    )


def _numbers(interval: Interval) -> dict[str, float]:
    found = {"difference": interval.mean, "low": interval.low, "high": interval.high, "se": interval.se}
    return {name: round(value, 6) for name, value in found.items()}


def points(interval: Interval) -> str:
    """A difference of accuracies for people: `+2.0 points (95 % interval +0.5 to +3.5)`."""
    return (
        f"{in_percent(interval.mean, signed=True)} points ({100 * interval.confidence:g} % interval "
        f"{in_percent(interval.low, signed=True)} to {in_percent(interval.high, signed=True)})"
    )
