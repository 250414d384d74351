"""What pretraining bought, read off a report: the number that people ask for first."""

import numpy as np

from ssl_core.config import Config
from ssl_core.evaluation.report import Report, scale_of
from ssl_core.evaluation.statistics import paired_bootstrap


class Gain(Config):
    """What pretraining bought: the deciding score less that of the strongest baseline, paired, with its interval."""

    baseline: str
    """what it is, as `random twin`"""
    mean: float
    low: float
    high: float
    text: str
    """mean and half-width in the unit of people: `+10.3 ± 2.1 points`"""

    @property
    def doubt(self) -> str:
        """What to say where the interval does not lie above zero; empty where it does."""
        if self.low > 0:
            return ""
        return "worse than without pretraining" if self.high < 0 else "not shown to help: the interval includes zero"

    @property
    def sentence(self) -> str:
        """`+10.3 ± 2.1 points over the strongest baseline (random twin)`, and the doubt."""
        return f"{self.text} over the strongest baseline ({self.baseline}){f'; {self.doubt}' if self.doubt else ''}"


def gain_of(report: Report) -> Gain | None:
    """The deciding score less that of the report's baseline, over the same draws and units, with a 95 % interval.

    The interval is the gate's (`ssl_core.evaluation.statistics.paired_bootstrap`). None where either is missing.
    """
    if report.deciding is None or report.baseline is None:
        return None
    # a single draw leaves only units to resample
    mine, theirs = (np.squeeze(scores.values, 0) if len(scores.values) == 1 else np.array(scores.values)
                    for scores in (report.deciding, report.baseline))  # fmt: skip
    found, scale = paired_bootstrap(mine, theirs), scale_of(report.deciding.measure)
    return Gain(
        baseline=report.baseline_name,
        mean=round(found.mean, 6),
        low=round(found.low, 6),
        high=round(found.high, 6),
        text=f"{scale.interval(found, signed=True)} {scale.unit}",
    )
