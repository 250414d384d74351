"""The median stopping rule (Golovin et al., KDD 2017, §3.2.2).

A trial stops when its best value so far is worse than the median, over the other trials that reached this epoch, of
their mean value up to it. The running mean makes one lucky epoch of the others no bar, the best so far makes one bad
epoch of the trial no fault.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean

from study.record.verdict import Verdict
from study.schedulers.rung_order import Rung
from study.spec.outcome import better
from study.spec.scheduler_spec import MedianRule


class MedianStopping:
    """Running means of all trials, by epoch.

    Args:
        spec: grace, least and every.
        direction: of the objective.
    """

    def __init__(self, spec: MedianRule, direction: str) -> None:
        self._spec, self._direction = spec, direction
        self._best = max if direction == "maximize" else min
        self._curves: dict[int, dict[int, float]] = {}
        self._means: dict[int, Rung] = {}

    def compares(self, epoch: int) -> bool:
        """Whether trials are compared after this epoch."""
        return epoch >= self._spec.grace and (epoch - self._spec.grace) % self._spec.every == 0

    def observe(self, number: int, epoch: int, value: float) -> None:
        """A trial reported this objective. An epoch told again changes the means after it as well."""
        curve = self._curves.setdefault(number, {})
        curve[epoch] = value
        for level in [epoch] if epoch == max(curve) else [e for e in curve if e >= epoch]:
            if self.compares(level):
                means = self._means.setdefault(level, Rung(self._direction))
                means.put(number, _mean([v for e, v in sorted(curve.items()) if e <= level]))

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Stop a trial whose best is worse than the median of the others' means; None to go on."""
        means = self._means.get(epoch)
        if means is None or number not in means or len(means) - 1 < self._spec.least:
            return None
        own = self._best(v for e, v in self._curves[number].items() if e <= epoch)
        bar = means.median_without(number)
        if not better(bar, own, self._direction):
            return None
        return Verdict(
            scheduler="median",
            rung=epoch,
            value=own,
            bar=bar,
            among=len(means),
            reason=f"median rule after {epoch} epochs: the best so far, {own:.4g}, is worse than {bar:.4g}, the "
            f"median of the running means of {len(means) - 1} other trials",
        )

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Forget all and observe every curve again."""
        self._curves.clear()
        self._means.clear()
        for number, curve in curves:
            for epoch in sorted(curve):
                self.observe(number, epoch, curve[epoch])


def _mean(values: list[float]) -> float:
    """Never beyond the values themselves, as rounding would have it: who leads must not stop."""
    return min(max(fmean(values), min(values)), max(values))
