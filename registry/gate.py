"""The gate: a pure function from two reports to a decision with a reason. Nothing is promoted by luck.

Against an incumbent, a candidate must be better beyond what chance explains: the lower confidence bound of
the paired difference (same label draws, same test objects, both resampled) has to exceed the margin.
Without one, it must not be worse than its own random twin.
"""

import numpy as np
from pydantic import Field

from registry.records import Decision
from registry.reports import EvaluationReport
from ssl_core.config import Config
from ssl_core.evaluation.statistics import Interval, paired_bootstrap


class GateConfig(Config):
    """Thresholds. Accuracies are in [0, 1]: a margin of one point is 0.01."""

    margin: float = Field(default=0.0, ge=0.0, lt=1.0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="two-sided")
    min_relative_std: float = Field(default=1e-3, ge=0.0, description="below: all objects look alike")
    min_effective_rank: float = Field(default=1.5, ge=0.0, description="below: one direction is left")


def decide(
    candidate: EvaluationReport, incumbent: EvaluationReport | None, config: GateConfig = GateConfig()
) -> Decision:
    """Whether the candidate becomes champion, and why.

    Args:
        candidate: its evaluation. incumbent: the champion's evaluation under the same protocol on the same
        pack; None if there is no champion. config: thresholds.
    """
    refusal = _unfit(candidate, config)
    if refusal is not None:
        return Decision(promoted=False, reason=refusal)
    if incumbent is None:
        return _first(candidate, config)
    if not candidate.comparable(incumbent):
        return Decision(
            promoted=False,
            reason="the champion was evaluated by another protocol or on other data; evaluate it on this one",
        )
    return _against(candidate, incumbent, config)


def _unfit(report: EvaluationReport, config: GateConfig) -> str | None:
    """Why the candidate cannot be considered at all; None if it can."""
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
            f"collapsed: with the most labels the probe reaches {100 * full:.1f} %, "
            f"a constant answer {100 * health.constant_accuracy:.1f} %"
        )
    return None


def _first(report: EvaluationReport, config: GateConfig) -> Decision:
    """No champion yet: not significantly worse than the random twin is enough."""
    deciding = report.deciding
    assert deciding is not None
    name = f"linear SVM at {deciding.labels} labels"
    accuracy = float(np.mean(deciding.encoder))
    if deciding.twin is None:
        return Decision(
            promoted=True,
            reason=f"first champion: {name} {100 * accuracy:.1f} %; there is no random twin to compare with",
            numbers={"accuracy": accuracy},
        )
    interval = _paired(deciding.encoder, deciding.twin, config)
    numbers = {"accuracy": accuracy, "twin": float(np.mean(deciding.twin)), **_numbers(interval)}
    text = f"{name} {100 * accuracy:.1f} %, {_points(interval)} against its random twin"
    if interval.high < 0:
        return Decision(promoted=False, reason=f"worse than its random twin: {text}", numbers=numbers)
    if interval.low > 0:
        return Decision(promoted=True, reason=f"first champion: {text}", numbers=numbers)
    return Decision(promoted=True, reason=f"first champion, no better than chance explains: {text}", numbers=numbers)


def _against(report: EvaluationReport, incumbent: EvaluationReport, config: GateConfig) -> Decision:
    mine, theirs = report.deciding, incumbent.deciding
    assert mine is not None
    accuracy = float(np.mean(mine.encoder))
    if theirs is None:
        return Decision(
            promoted=True,
            reason="the champion's own evaluation has no result (its features are not finite)",
            numbers={"accuracy": accuracy},
        )
    interval = _paired(mine.encoder, theirs.encoder, config)
    champion = float(np.mean(theirs.encoder))
    numbers = {"accuracy": round(accuracy, 6), "incumbent": round(champion, 6), **_numbers(interval)}
    text = (
        f"linear SVM at {mine.labels} labels {100 * accuracy:.1f} % "
        f"against {100 * champion:.1f} %, {_points(interval)}; "
        f"the lower bound has to exceed {100 * config.margin:g}"
    )
    verdict = "better than the champion" if interval.low > config.margin else "not shown to be better than the champion"
    return Decision(promoted=interval.low > config.margin, reason=f"{verdict}: {text}", numbers=numbers)


def _paired(a: tuple[tuple[float, ...], ...], b: tuple[tuple[float, ...], ...], config: GateConfig) -> Interval:
    left, right = np.array(a), np.array(b)
    # one label draw only (all labels): there are no draws to resample, only objects
    if len(left) == 1:
        left, right = left[0], right[0]
    return paired_bootstrap(left, right, confidence=config.confidence)


def _numbers(interval: Interval) -> dict[str, float]:
    found = {"difference": interval.mean, "low": interval.low, "high": interval.high, "se": interval.se}
    return {name: round(value, 6) for name, value in found.items()}


def _points(interval: Interval) -> str:
    return (
        f"{100 * interval.mean:+.1f} points ({100 * interval.confidence:g} % interval "
        f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    )
