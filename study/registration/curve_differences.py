"""Two sets of curves side by side: where they part first, and how far."""

from collections.abc import Mapping

from ssl_core.config import Config
from ssl_core.training.contract import PARAMETERS

Curves = Mapping[str, Mapping[int, float]]
"""metric -> epoch -> value"""

_OF_THE_CLOCK = ("seconds/", "train/samples_per_second", "train/data_wait", "cost/")


class CurveDifference(Config):
    """A metric that is not what it was; None stands for a value that is not there."""

    epoch: int
    metric: str
    recorded: float | None
    found: float | None

    @property
    def size(self) -> float:
        """Absolute; infinite where a value is missing."""
        if self.recorded is None or self.found is None:
            return float("inf")
        return abs(self.found - self.recorded)

    def __str__(self) -> str:
        if self.recorded is None or self.found is None:
            which = "was not recorded" if self.recorded is None else "is not reported any more"
            return f"{self.metric} {which}"
        return f"{self.metric} was {self.recorded!r}, is {self.found!r} (differs by {self.size:.3g})"


def measured(metric: str) -> bool:
    """Whether a metric is the machine's rather than the training's: times, rates, memory."""
    return metric.startswith(_OF_THE_CLOCK) and metric != PARAMETERS


def compared(recorded: Curves) -> list[str]:
    """Metrics that a second training must give again."""
    return sorted(name for name in recorded if not measured(name))


def differences(recorded: Curves, found: Curves, tolerance: float = 0.0) -> list[CurveDifference]:
    """All differences larger than `tolerance` in the epochs that `found` has, by epoch and metric.

    Metrics that only `found` has are passed over: a later version of the code may report more.
    """
    epochs = sorted({epoch for curve in found.values() for epoch in curve})
    every = [
        CurveDifference(
            epoch=epoch, metric=name, recorded=recorded[name].get(epoch), found=found.get(name, {}).get(epoch)
        )
        for epoch in epochs
        for name in compared(recorded)
    ]
    return [one for one in every if one.recorded != one.found and one.size > tolerance]


def largest(found: list[CurveDifference]) -> CurveDifference | None:
    """The one of the largest size, the first of several."""
    return max(found, key=lambda one: one.size, default=None)
